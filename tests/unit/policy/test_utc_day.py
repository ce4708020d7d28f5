"""Rules that ask what day it is: decided anew after midnight, and only then, and no plan outlives its day."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest
from unit.policy.test_use_cases import Service, identity

import vecsec_policy
from vecsec_chassis.domain.access import Action, ViolationType
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.folder.principals import Caller
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.in_force.utc_day import day_before, day_of, end_of, start_of
from vecsec_policy.metrics import PolicyMetrics

DEFAULT_POLICY = Path(vecsec_policy.__file__).parent / "default_policy"
EXAMPLE = Path(__file__).parents[3] / "deploy" / "examples" / "policies" / "attributes"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 2, 1, tzinfo=UTC).timestamp()


def until(day: int) -> Label:
    return Label("tenant_a", Sensitivity.INTERNAL, frozenset({"rag"}), (("embargo_until", day),))


ANALYST = replace(identity(), expires_at=MIDNIGHT + 86_400)
FROM_TOMORROW = until(20260201)


@pytest.fixture(scope="module")
def with_embargo() -> PolicySnapshot:
    return load_snapshot(EXAMPLE)


@pytest.fixture
def service(with_embargo: PolicySnapshot, metrics: PolicyMetrics) -> Service:
    return Service(with_embargo, metrics, now=NOON)


def test_days_are_numbers_that_compare_as_days_do() -> None:
    assert (day_of(NOON), day_of(MIDNIGHT - 0.001), day_of(MIDNIGHT)) == (20260131, 20260131, 20260201)
    assert (day_before(20260201), day_before(20260101), day_before(20240301)) == (20260131, 20251231, 20240229)
    assert end_of(20260131) == start_of(20260201) == MIDNIGHT


@pytest.mark.parametrize(
    "context", ["context", "(if principal.clearance > 1 then context else context)", "{here: context}.here"]
)
def test_a_rule_is_seen_to_ask_for_the_day_however_it_reaches_it(tmp_path: Path, context: str) -> None:
    """Unseen, it would be decided without a day, and what it forbids be let through."""
    folder = copytree(DEFAULT_POLICY, tmp_path / "policy")
    rule = f"""
        @id("closed") @description("d") @violation("topic_violation")
        forbid (principal, action, resource is Document)
        when {{ {context} has today && context.target.tenant_id == "tenant_a" }};
    """
    (rules,) = folder.glob("*.cedar")
    rules.write_text(rules.read_text() + rule)
    assert load_snapshot(folder).engine.depends_on_day
    assert not load_snapshot(DEFAULT_POLICY).engine.depends_on_day


def test_an_embargo_ends_with_the_day_before(service: Service) -> None:
    assert service.check(ANALYST, FROM_TOMORROW, until(20260131), until(20270101)) == [False, True, False]
    service.now = MIDNIGHT
    assert service.check(ANALYST, FROM_TOMORROW, until(20260131), until(20270101)) == [True, True, False]


def test_a_plan_is_remembered_until_midnight_and_ends_then(service: Service) -> None:
    first = service.plan(ANALYST, "tenant_a", Action.READ)
    assert service.plan(ANALYST, "tenant_a", Action.READ) is first
    assert first.expires_at == NOON + 60
    service.now = MIDNIGHT - 10
    late = service.plan(ANALYST, "tenant_a", Action.READ)
    assert late.expires_at == MIDNIGHT
    service.now = MIDNIGHT + 1
    assert service.plan(ANALYST, "tenant_a", Action.READ).expires_at == MIDNIGHT + 61
    assert "20260131" in service.signer.signed[-2].residual
    assert "20260201" in service.signer.signed[-1].residual


def test_a_plan_of_yesterday_is_no_divergence_but_one_of_today_is(
    with_embargo: PolicySnapshot, metrics: PolicyMetrics, tmp_path: Path
) -> None:
    for file in EXAMPLE.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    rules = (EXAMPLE / "attributes.cedar").read_text()
    assert "context.today < resource.embargo_until" in rules
    (tmp_path / "attributes.cedar").write_text(
        rules.replace("context.today < resource.embargo_until", "context.today >= resource.embargo_until")
    )
    service = Service(load_snapshot(tmp_path), metrics, now=MIDNIGHT + 5)
    version, secret = service.snapshot.version, Label("tenant_a", Sensitivity.SECRET, frozenset({"rag"}))
    assert service.check(ANALYST, FROM_TOMORROW, planned=version) == [False]
    assert ViolationType.PLAN_CHECK_DIVERGENCE not in service.violations()
    assert service.check(ANALYST, FROM_TOMORROW, secret, planned=version) == [False, False]
    assert service.violations()[ViolationType.PLAN_CHECK_DIVERGENCE] == 1, "no plan of yesterday showed it either"
    service.now = MIDNIGHT + 3_600
    service.check(ANALYST, FROM_TOMORROW, planned=version)
    assert service.violations()[ViolationType.PLAN_CHECK_DIVERGENCE] == 2


def test_a_policy_that_does_not_ask_for_the_day_is_not_decided_anew(
    packaged: PolicySnapshot, metrics: PolicyMetrics
) -> None:
    service = Service(packaged, metrics, now=MIDNIGHT - 10)
    before = service.plan(ANALYST, "tenant_a", Action.READ)
    assert before.expires_at == MIDNIGHT + 50
    service.now = MIDNIGHT + 1
    assert service.plan(ANALYST, "tenant_a", Action.READ) is before


def test_a_rule_that_asks_for_the_day_where_nobody_knows_it_refuses(with_embargo: PolicySnapshot) -> None:
    alice = Caller("alice", with_embargo.tenants["tenant_a"], with_embargo.roles["analyst"], Sensitivity.INTERNAL)
    engine = with_embargo.engine
    [verdict] = engine.decide_rows(alice, alice.tenant, Action.READ, [until(20000101)])
    assert not verdict.allowed
    assert "rule-failure" in verdict.rule_ids
