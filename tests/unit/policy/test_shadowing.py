"""The candidate in the shadow: it is compared, counted and sampled, and nobody waits for it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from support.waiting import until

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.audit.records import Record
from vecsec_policy.in_force.evaluation import decide_entry, decide_rows
from vecsec_policy.in_force.rollout import Rollout
from vecsec_policy.in_force.snapshot import Candidate, PolicyAssignment, PolicyInForce, PolicySnapshot, load_snapshot
from vecsec_policy.shadow import shadow as shadowing
from vecsec_policy.shadow.counts import ShadowChange, ShadowCounts, ShadowQuestion

PUBLIC = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}))
INTERNAL = Label("tenant_a", Sensitivity.INTERNAL, frozenset({"rag"}))
FINANCE = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"finance"}))
SHADOW = Rollout(candidate=Path("/next"), shadow_share=1.0)


def identity(role: str = "analyst", tenant_id: str = "tenant_a") -> Identity:
    return Identity("alice", tenant_id, role, Sensitivity.INTERNAL, "issuer", 10_000.0)


def stricter(packaged: PolicySnapshot) -> PolicySnapshot:
    """A candidate: analysts read PUBLIC only, guests are no more, tenant_a sees finance."""
    roles = {name: role for name, role in packaged.roles.items() if name != "guest"}
    roles["analyst"] = replace(roles["analyst"], max_clearance=Sensitivity.PUBLIC)
    tenants = dict(packaged.tenants)
    tenants["tenant_a"] = replace(tenants["tenant_a"], topics=tenants["tenant_a"].topics | {"finance"})
    return PolicySnapshot("stricter", packaged.engine, roles, tenants)


class Service:
    """A shadow and what it tells."""

    def __init__(self, packaged: PolicySnapshot, rollout: Rollout = SHADOW) -> None:
        self.current = packaged
        self.policy = PolicyInForce(PolicyAssignment(packaged, Candidate(stricter(packaged), rollout)))
        self.records: list[dict[str, object]] = []
        self.counts = ShadowCounts(MeterProvider().get_meter("test"))
        self.shadow = shadowing.ShadowEvaluator(self.policy, self.append, self.counts)

    def append(self, record: Record) -> None:
        self.records.append(json.loads(record.to_json()))

    def check(self, who: Identity, *labels: Label) -> None:
        access = decide_entry(self.current, who, "tenant_a", Action.READ, now=0.0)
        rows = tuple(zip(labels, decide_rows(access, labels), strict=True))
        self.shadow.note(who, "tenant_a", Action.READ, rows)

    async def catch_up(self) -> None:
        task = asyncio.create_task(self.shadow.run())
        await until(lambda: self.shadow._calls._getters)
        task.cancel()

    @property
    def counted(self) -> Mapping[tuple[ShadowQuestion, ShadowChange], int]:
        counts = self.counts.of_tenant("stricter", "tenant_a")
        return {key: count for key, count in counts.items() if count}


@pytest.fixture
def service(packaged: PolicySnapshot) -> Service:
    return Service(packaged)


async def test_rows_that_would_be_lost_or_gained_are_counted_and_recorded(service: Service) -> None:
    service.check(identity(), PUBLIC, INTERNAL, FINANCE)
    await service.catch_up()
    assert service.counted == {(ShadowQuestion.ROW, ShadowChange.LOST): 1, (ShadowQuestion.ROW, ShadowChange.GAINED): 1}
    lost, gained = sorted(service.records, key=lambda record: str(record["change"]), reverse=True)
    assert (lost["kind"], lost["question"], lost["change"]) == ("shadow", "row", "lost")
    assert (lost["allowed"], lost["candidate_allowed"]) == (True, False)
    assert (lost["policy_version"], lost["candidate_version"]) == (service.current.version, "stricter")
    assert lost["candidate_rule_ids"] == ["row-clearance"]
    assert lost["label"] == {"tenant_id": "tenant_a", "sensitivity": 2, "topics": ["rag"]}
    assert gained["rule_ids"] == ["row-topics"]


async def test_entries_that_would_be_lost_are_counted(service: Service) -> None:
    service.shadow.note(identity("guest"), "tenant_a", Action.READ)
    service.shadow.note(identity(), "tenant_a", Action.READ)
    service.shadow.note(identity(), "tenant_b", Action.READ)
    await service.catch_up()
    assert service.counted == {(ShadowQuestion.ENTRY, ShadowChange.LOST): 1}
    assert [record["question"] for record in service.records] == ["entry"]


async def test_records_are_sampled_and_counts_are_not(service: Service) -> None:
    for _ in range(20):
        service.check(identity(), INTERNAL)
    await service.catch_up()
    assert service.counted == {(ShadowQuestion.ROW, ShadowChange.LOST): 20}
    assert len(service.records) == 1


@pytest.mark.parametrize(
    "rollout",
    [
        replace(SHADOW, shadow_share=0.0),
        replace(SHADOW, shadow_tenants=frozenset({"tenant_b"})),
        replace(SHADOW, promoted_tenants=frozenset({"tenant_a"})),
    ],
)
async def test_whoever_is_not_in_the_shadow_is_left_alone(packaged: PolicySnapshot, rollout: Rollout) -> None:
    service = Service(packaged, rollout)
    service.check(identity(), INTERNAL)
    service.shadow.note(identity("guest"), "tenant_a", Action.READ)
    await service.catch_up()
    assert service.counted == {}
    assert service.records == []


async def test_what_there_is_no_time_for_is_dropped(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = []
    monkeypatch.setattr(service.counts.dropped, "add", dropped.append)
    for _ in range(300):
        service.check(identity(), INTERNAL)
    assert len(dropped) == 300 - 256


async def test_a_candidate_that_fails_harms_nobody(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> object:
        raise ValueError("of Cedar")

    failed = []
    monkeypatch.setattr(service.counts.failures, "add", failed.append)
    service.check(identity(), INTERNAL)
    with monkeypatch.context() as patched:
        patched.setattr(shadowing, "decide_rows", fails)
        await service.catch_up()
    assert failed == [1]
    service.check(identity(), INTERNAL)
    await service.catch_up()
    assert service.counted == {(ShadowQuestion.ROW, ShadowChange.LOST): 1}, "it goes on"


async def test_counts_of_one_candidate_are_not_those_of_the_next(folder: Path, service: Service) -> None:
    service.check(identity(), INTERNAL)
    await service.catch_up()
    assert service.counts.of_tenant("next", "tenant_a")[ShadowQuestion.ROW, ShadowChange.LOST] == 0
    assert service.counts.of_tenant("stricter", "tenant_b")[ShadowQuestion.ROW, ShadowChange.LOST] == 0
    assert load_snapshot(folder).version == service.current.version
