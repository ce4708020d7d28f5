"""Planning, checking, explaining and counting: what callers get, what is counted, what is audited."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from support.crossing import let_admins_cross

from vecsec_chassis.domain.access import Action, Grant, Identity, ViolationType
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant, VecSecError
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.audit.records import AuditedOutcome, AuditRecord, Record
from vecsec_policy.cedar.engine import CedarEngine
from vecsec_policy.cedar.residual import policy_set_json
from vecsec_policy.in_force.snapshot import PolicyAssignment, PolicyInForce, PolicySnapshot, load_snapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.shadow.counts import ShadowCounts
from vecsec_policy.shadow.shadow import ShadowEvaluator
from vecsec_policy.use_cases.decisions import EntryGate, RowChecker
from vecsec_policy.use_cases.explain_access import AccessExplainer, Explanation
from vecsec_policy.use_cases.plan_access import AccessPlan, AccessPlanner

VISIBLE = Label("tenant_a", Sensitivity.INTERNAL, frozenset({"rag"}))
TOO_SENSITIVE = Label("tenant_a", Sensitivity.SECRET, frozenset({"rag"}))
OUT_OF_SCOPE = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag", "finance"}))
FOREIGN = Label("tenant_b", Sensitivity.SECRET, frozenset({"finance"}))


def identity(role: str = "analyst", tenant_id: str = "tenant_a", clearance: str = "INTERNAL") -> Identity:
    return Identity("alice", tenant_id, role, Sensitivity[clearance], "issuer", expires_at=10_000.0)


ANALYST = identity()
SUPERUSER = identity("superuser")
ADMIN = identity("admin", clearance="SECRET")


class PlainSigner:
    """Shows a grant instead of signing it."""

    def __init__(self) -> None:
        self.signed: list[Grant] = []

    def sign(self, grant: Grant) -> str:
        self.signed.append(grant)
        return f"grant {len(self.signed)}"


@dataclass
class Service:
    """The use cases around the packaged policy, with a clock that is set by hand."""

    snapshot: PolicySnapshot
    metrics: PolicyMetrics
    now: float = 1_000.0
    trail: list[AuditRecord] = field(default_factory=list)
    signer: PlainSigner = field(default_factory=PlainSigner)

    def __post_init__(self) -> None:
        def clock() -> float:
            return self.now

        self.policy = PolicyInForce(PolicyAssignment(self.snapshot))
        gate = EntryGate(self.policy, self.metrics, self.append, clock=clock)
        shadow = ShadowEvaluator(self.policy, self.append, ShadowCounts(MeterProvider().get_meter("test")))
        self.planner = AccessPlanner(
            gate,
            self.metrics,
            shadow,
            RecentPlans(),
            sign=self.signer.sign,
            grant_seconds=60,
            clock=clock,
        )
        self.checker = RowChecker(gate, self.metrics, shadow, clock=clock)
        self.explainer = AccessExplainer(gate)

    def append(self, record: Record) -> None:
        assert isinstance(record, AuditRecord)
        self.trail.append(record)

    def plan(self, who: Identity, tenant_id: str, action: Action) -> AccessPlan:
        return asyncio.run(self.planner.plan(who, tenant_id, action))

    def check(self, who: Identity, *labels: Label, planned: str = "", tenant_id: str = "tenant_a") -> list[bool]:
        rows = Counter(labels)
        checked = asyncio.run(self.checker.check(who, tenant_id, Action.READ, rows, planned_policy_version=planned))
        return [checked.verdicts[label].allowed for label in labels]

    def explain(self, who: Identity, tenant_id: str, action: Action, label: Label) -> Explanation:
        return asyncio.run(self.explainer.explain(who, tenant_id, action, label))

    def violations(self, tenant_id: str = "tenant_a") -> dict[ViolationType, int]:
        counts: Counter[ViolationType] = Counter()
        for record in self.trail:
            if record.identity.tenant_id == tenant_id:
                counts.update(record.violations)
        return dict(counts)

    def denials(self) -> int:
        return sum(record.outcome is AuditedOutcome.DENIED for record in self.trail)


@pytest.fixture
def service(crossing: PolicySnapshot, metrics: PolicyMetrics) -> Service:
    return Service(crossing, metrics)


def test_a_plan_is_a_grant_for_this_caller_tenant_and_action(service: Service) -> None:
    plan = service.plan(ANALYST, "tenant_a", Action.READ)
    [grant] = service.signer.signed
    assert (grant.subject, grant.caller_tenant_id, grant.role) == ("alice", "tenant_a", "analyst")
    assert (grant.tenant_id, grant.action, grant.may_configure) == ("tenant_a", Action.READ, False)
    assert grant.policy_version == service.snapshot.version
    assert plan.expires_at == grant.expires_at == 1_060.0
    assert plan.signed_grant == "grant 1"
    assert service.trail[-1].outcome is AuditedOutcome.ALLOWED


def test_a_grant_is_given_out_again_for_half_of_its_life(service: Service) -> None:
    first = service.plan(ANALYST, "tenant_a", Action.READ)
    service.now += 29.9
    assert service.plan(ANALYST, "tenant_a", Action.READ) is first
    assert [record.remembered for record in service.trail] == [False, True]
    service.now += 0.2
    assert service.plan(ANALYST, "tenant_a", Action.READ).signed_grant == "grant 2"


@pytest.mark.parametrize("jump", [-3_600.0, 3_600.0])
def test_a_clock_that_jumps_makes_no_grant_live_longer(service: Service, jump: float) -> None:
    service.plan(ANALYST, "tenant_a", Action.READ)
    service.now += jump
    service.plan(ANALYST, "tenant_a", Action.READ)
    assert service.signer.signed[-1].expires_at == service.now + 60
    assert len(service.signer.signed) == 2


@pytest.mark.parametrize(
    ("who", "tenant_id", "action"),
    [
        (replace(ANALYST, subject="bob"), "tenant_a", Action.READ),
        (replace(ANALYST, issuer="other"), "tenant_a", Action.READ),
        (identity(clearance="PUBLIC"), "tenant_a", Action.READ),
        (identity("guest"), "tenant_a", Action.READ),
        (ADMIN, "tenant_b", Action.READ),
        (ADMIN, "tenant_a", Action.WRITE),
    ],
)
def test_a_grant_is_given_out_again_to_the_same_caller_only(
    service: Service, who: Identity, tenant_id: str, action: Action
) -> None:
    service.plan(ANALYST, "tenant_a", Action.READ)
    service.plan(who, tenant_id, action)
    service.plan(who, tenant_id, action)
    assert len(service.signer.signed) == 2


def test_a_new_policy_forgets_all_grants_and_verdicts(service: Service) -> None:
    service.plan(ANALYST, "tenant_a", Action.READ)
    assert service.check(ANALYST, VISIBLE) == [True]
    roles = dict(service.snapshot.roles)
    roles["analyst"] = replace(roles["analyst"], max_clearance=Sensitivity.PUBLIC)
    service.policy.adopt(
        PolicyAssignment(PolicySnapshot("new", service.snapshot.engine, roles, service.snapshot.tenants))
    )
    assert service.plan(ANALYST, "tenant_a", Action.READ).access.policy.version == "new"
    assert service.check(ANALYST, VISIBLE) == [False]


async def test_many_rules_are_specialised_in_steps_once_for_callers_alike(
    folder: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = "".join(
        f'@id("more-{number}") forbid (principal, action, resource is Document) when {{ resource has region && '
        f'resource.region == "{number}" }};\n'
        for number in range(60)
    )
    (folder / "more.cedar").write_text(rules)
    service = Service(load_snapshot(folder), metrics)
    made = []
    monkeypatch.setattr(
        "vecsec_policy.cedar.residual.policy_set_json",
        lambda policies, **also: made.append(len(policies)) or policy_set_json(policies, **also),
    )
    in_order = []

    async def plan(who: Identity, tenant_id: str) -> None:
        await service.planner.plan(who, tenant_id, Action.READ)
        in_order.append(who.subject)

    alike = [replace(ANALYST, subject=f"alike-{number}") for number in range(3)]
    other = Identity("other", "tenant_b", "analyst", Sensitivity.PUBLIC, "issuer", expires_at=10_000.0)
    await plan(other, "tenant_b")
    await asyncio.gather(*(plan(who, "tenant_a") for who in alike), plan(other, "tenant_b"))
    assert len(made) == 2, "callers alike share what is left of the rules, also if they ask at once"
    assert all(rules_left > 60 for rules_left in made)
    assert in_order == ["other", "other", *(who.subject for who in alike)], "who asks for little is not kept waiting"


def test_attributes_that_rows_carry_are_known_made_up_ones_are_not(service: Service) -> None:
    carried, made_up = (replace(VISIBLE, attributes=((name, "eu"),)) for name in ("region", "nonsense"))
    service.check(SUPERUSER, carried, made_up)
    assert service.checker.attributes == {("region", str): "eu"}


def test_who_may_not_write_a_row_says_nothing_of_what_rows_carry(service: Service) -> None:
    """They may read it, or write in another place: anybody can make up a label."""
    region = (("region", "made-up"),)
    assert service.check(ANALYST, replace(VISIBLE, attributes=region)) == [True]
    assert service.check(identity("guest"), replace(VISIBLE, sensitivity=Sensitivity.PUBLIC, attributes=region)) == [
        True
    ]
    assert service.check(ADMIN, replace(FOREIGN, attributes=region), tenant_id="tenant_b") == [True]
    assert service.check(SUPERUSER, replace(TOO_SENSITIVE, attributes=region)) == [False]
    assert service.checker.attributes == {}


def test_what_a_writer_imports_tells_what_rows_carry(service: Service) -> None:
    labels = [replace(each, attributes=(("region", "eu"),)) for each in (TOO_SENSITIVE, VISIBLE)]

    async def write(label: Label) -> list[bool]:
        checked = await service.checker.check(
            SUPERUSER, "tenant_a", Action.WRITE, {label: 1}, planned_policy_version=""
        )
        return [verdict.allowed for verdict in checked.verdicts.values()]

    assert asyncio.run(write(labels[0])) == [False]
    assert service.checker.attributes == {}
    assert asyncio.run(write(labels[1])) == [True]
    assert service.checker.attributes == {("region", str): "eu"}


def test_a_grant_does_not_outlive_its_token_by_much(service: Service) -> None:
    service.plan(replace(ANALYST, expires_at=service.now + 20), "tenant_a", Action.READ)
    service.plan(replace(ANALYST, expires_at=service.now - 3), "tenant_a", Action.READ)
    assert [grant.expires_at - service.now for grant in service.signer.signed] == [20, 5]


def test_an_overclaiming_token_is_capped_and_counted_once(service: Service) -> None:
    who = identity(clearance="SECRET")
    plan = service.plan(who, "tenant_a", Action.READ)
    assert plan.access.caller.clearance is Sensitivity.INTERNAL
    service.now += 59
    service.plan(who, "tenant_a", Action.READ)
    assert service.violations() == {ViolationType.ROLE_CLEARANCE: 1}
    assert [record.violations for record in service.trail] == [{ViolationType.ROLE_CLEARANCE: 1}, {}]
    assert service.check(who, TOO_SENSITIVE) == [False]


@pytest.mark.parametrize("tenant_id", ["tenant_b", "nowhere"])
def test_a_foreign_tenant_is_denied_alike_whether_it_exists_or_not(service: Service, tenant_id: str) -> None:
    with pytest.raises(AccessDenied) as refusal:
        service.plan(ANALYST, tenant_id, Action.READ)
    assert refusal.value.message == f"the policy does not allow read in tenant '{tenant_id}'"
    assert service.violations() == {ViolationType.CROSS_TENANT: 1}
    assert service.denials() == 1
    assert service.trail[-1].outcome is AuditedOutcome.DENIED
    assert service.trail[-1].rule_ids == ("stay-in-own-tenant",)
    assert not service.signer.signed


@pytest.mark.parametrize("action", [Action.WRITE, Action.DELETE, Action.CONFIGURE])
def test_what_the_role_does_not_list_is_denied_but_no_violation(service: Service, action: Action) -> None:
    with pytest.raises(AccessDenied):
        service.plan(ANALYST, "tenant_a", action)
    assert service.violations() == {}
    assert service.denials() == 1


def test_admins_read_across_tenants_but_do_not_write_there(service: Service) -> None:
    plan = service.plan(ADMIN, "tenant_b", Action.READ)
    assert plan.access.target.tenant_id == "tenant_b"
    assert not service.signer.signed[-1].may_configure, "without embeddings, unless that is said, too"
    for action in (Action.WRITE, Action.DELETE):
        with pytest.raises(AccessDenied):
            service.plan(ADMIN, "tenant_b", action)


@pytest.mark.parametrize("action", Action)
def test_nobody_enters_another_tenant_unless_the_deployment_says_so(
    packaged: PolicySnapshot, metrics: PolicyMetrics, action: Action
) -> None:
    service = Service(packaged, metrics)
    for tenant_id in ("tenant_b", "nowhere"):
        with pytest.raises(AccessDenied):
            service.plan(ADMIN, tenant_id, action)
    assert service.violations() == {ViolationType.CROSS_TENANT: 2}


def test_embeddings_go_across_where_the_deployment_says_so(folder: Path, metrics: PolicyMetrics) -> None:
    service = Service(load_snapshot(let_admins_cross(folder, with_embeddings=True)), metrics)
    service.plan(ADMIN, "tenant_b", Action.READ)
    assert service.signer.signed[-1].may_configure


def test_unknown_tenants_are_named_to_those_only_who_may_know(service: Service) -> None:
    with pytest.raises(UnknownTenant, match="nowhere"):
        service.plan(ADMIN, "nowhere", Action.READ)
    for asked in ("orphan", "tenant_a", "nowhere"):
        with pytest.raises(UnknownTenant, match="orphan"):
            service.plan(identity("admin", tenant_id="orphan"), asked, Action.READ)
    assert {record.outcome for record in service.trail} == {AuditedOutcome.UNKNOWN_TENANT}
    assert service.violations("orphan") == {}


def test_an_unknown_role_is_denied_and_audited(service: Service) -> None:
    with pytest.raises(AccessDenied):
        service.plan(identity("root"), "tenant_a", Action.READ)
    assert service.denials() == 1
    assert service.trail[-1].outcome is AuditedOutcome.DENIED


def test_each_row_is_decided_counted_and_audited(service: Service) -> None:
    assert service.check(ANALYST, VISIBLE, TOO_SENSITIVE, OUT_OF_SCOPE, FOREIGN, VISIBLE, FOREIGN) == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    assert service.violations() == {
        ViolationType.CLEARANCE: 1,
        ViolationType.TOPIC: 1,
        ViolationType.DOCUMENT_TENANT: 2,
    }
    record = json.loads(service.trail[-1].to_json())
    assert (record["allowed_count"], record["withheld_count"]) == (2, 4)
    assert [(Label.from_json(json.dumps(each["label"])), each["row_count"]) for each in record["withheld"]] == [
        (TOO_SENSITIVE, 1),
        (OUT_OF_SCOPE, 1),
        (FOREIGN, 2),
    ]
    assert record["violations"] == {"clearance_violation": 1, "topic_violation": 1, "document_tenant_violation": 2}
    assert record["allowed"] == [{"label": json.loads(VISIBLE.to_json()), "row_count": 2}]
    assert record["withheld"][0] == {
        "label": json.loads(TOO_SENSITIVE.to_json()),
        "row_count": 1,
        "violation_type": "clearance_violation",
        "rule_ids": ["row-clearance"],
    }


@pytest.mark.parametrize("first", [True, 1])
def test_labels_that_differ_in_a_type_alone_get_their_own_verdicts(
    folder: Path, metrics: PolicyMetrics, first: bool | int
) -> None:
    schema = folder / "schema.cedarschema"
    schema.write_text(schema.read_text().replace("region?: String,", "region?: String,\n  hold?: Bool,"))
    service = Service(load_snapshot(folder), metrics)
    for hold in (first, True, 1, True):
        label = replace(VISIBLE, attributes=(("hold", hold),))
        assert service.check(ANALYST, label) == [hold is True]
        assert service.explain(ANALYST, "tenant_a", Action.READ, label).allowed is (hold is True)


def test_many_refusals_of_one_label_are_a_short_record(service: Service) -> None:
    service.check(ANALYST, *[TOO_SENSITIVE] * 1_000)
    assert len(service.trail[-1].to_json()) < 1_000


def test_remembered_verdicts_are_bounded_by_what_their_labels_weigh(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_policy.use_cases.decisions._REMEMBERED_VERDICTS_BYTES", 200_000)
    asked = Service(service.snapshot, service.metrics)
    heavy = [replace(VISIBLE, attributes=(("owner", f"{number:03}" + "x" * 253),)) for number in range(300)]
    assert asked.check(ANALYST, *heavy) == [True] * 300
    verdicts = asked.checker._verdicts
    assert 0 < len(verdicts) < 200
    assert sum(each.label.weight for each in verdicts.values()) <= 200_000


def test_many_rows_are_decided_in_their_order(service: Service) -> None:
    labels = [
        Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag" if number % 3 else f"x{number}"}), ())
        for number in range(200)
    ]
    assert service.check(ANALYST, *labels) == [number % 3 != 0 for number in range(200)]
    assert service.check(ANALYST) == []


def test_a_row_that_the_same_policy_let_through_is_a_divergence(service: Service) -> None:
    service.check(ANALYST, VISIBLE, TOO_SENSITIVE, FOREIGN, planned=service.snapshot.version)
    assert service.violations()[ViolationType.PLAN_CHECK_DIVERGENCE] == 2
    service.check(ANALYST, TOO_SENSITIVE, planned="an older policy")
    service.check(ANALYST, TOO_SENSITIVE)
    service.check(ANALYST, VISIBLE, planned=service.snapshot.version)
    assert service.violations()[ViolationType.PLAN_CHECK_DIVERGENCE] == 2


def test_checking_needs_the_right_to_enter(service: Service) -> None:
    with pytest.raises(AccessDenied):
        service.check(ANALYST, FOREIGN, tenant_id="tenant_b")
    assert service.violations() == {ViolationType.CROSS_TENANT: 1}


def test_explanations_differ_in_nothing_for_who_may_not_configure(service: Service) -> None:
    answers = [
        service.explain(ANALYST, tenant_id, action, label)
        for tenant_id in ("tenant_a", "tenant_b", "nowhere")
        for action in Action
        for label in (VISIBLE, TOO_SENSITIVE, FOREIGN)
    ]
    assert [answer.allowed for answer in answers] == [True] + [False] * (len(answers) - 1)
    assert {answer.policy_version for answer in answers} == {service.snapshot.version}
    assert {len(answer.incident_id) for answer in answers} == {32}
    assert not any(answer.rules or answer.values or answer.remedies for answer in answers)
    assert service.violations() == {ViolationType.CROSS_TENANT: 24}


def test_administrators_learn_which_rules_decided(service: Service) -> None:
    superuser = identity("superuser", clearance="CONFIDENTIAL")
    answer = service.explain(superuser, "tenant_a", Action.READ, TOO_SENSITIVE)
    [rule] = answer.rules
    assert rule.rule_id == "row-clearance"
    assert rule.description == "A row may not be more sensitive than the caller is cleared for."
    assert rule.text.startswith('@id("row-clearance")')
    assert service.trail[-1].incident_id == answer.incident_id
    odd = replace(VISIBLE, attributes=(("ower", "x"),))
    assert service.explain(superuser, "tenant_a", Action.READ, odd).rules[0].rule_id == "label-not-in-schema"
    [entry] = service.explain(ADMIN, "tenant_b", Action.WRITE, FOREIGN).rules
    assert entry.rule_id == "stay-in-own-tenant"
    assert service.explain(superuser, "tenant_b", Action.READ, FOREIGN).rules == ()


def test_records_hold_who_asked_what_and_no_token(service: Service) -> None:
    service.plan(ANALYST, "tenant_a", Action.READ)
    record = json.loads(service.trail[-1].to_json())
    assert record == {
        "kind": "decision",
        "time": "1970-01-01T00:16:40.000+00:00",
        "call": "plan",
        "outcome": "allowed",
        "request_id": "",
        "incident_id": record["incident_id"],
        "subject": "alice",
        "issuer": "issuer",
        "caller_tenant_id": "tenant_a",
        "role": "analyst",
        "claimed_clearance": "INTERNAL",
        "tenant_id": "tenant_a",
        "action": "read",
        "policy_version": service.snapshot.version,
        "rule_ids": ["enter-own-tenant"],
        "violations": {},
        "remembered": False,
        "allowed_count": 0,
        "withheld_count": 0,
        "allowed": [],
        "withheld": [],
    }


def test_what_was_decided_is_not_decided_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [replace(VISIBLE, topics=frozenset({"rag", f"t{number}"})) for number in range(10)]
    first = service.check(ANALYST, *labels)
    service.plan(ANALYST, "tenant_a", Action.READ)
    for decide in ("decide_entry", "decide_rows", "plan"):
        monkeypatch.delattr(CedarEngine, decide)
    assert service.check(ANALYST, *reversed(labels)) == first[::-1]
    service.plan(ANALYST, "tenant_a", Action.READ)


def test_denials_are_typed_errors(service: Service) -> None:
    with pytest.raises(VecSecError) as refusal:
        service.plan(ANALYST, "tenant_b", Action.CONFIGURE)
    assert refusal.value.reason.value == "ACCESS_DENIED"
