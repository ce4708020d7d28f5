"""Violations are counted and listed from the audit log, through an index that is made anew whenever it has to be."""

import json
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from support.audit_log import read_decisions
from support.waiting import PATIENCE_SECONDS, until

from vecsec_chassis.calls import unique_id
from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.errors import AccessDenied, InvalidRequest, PolicyUnavailable, VecSecError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.audit.log import LogSettings
from vecsec_policy.audit.log_files import log_files
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, AuditRecord
from vecsec_policy.audit.writer import AuditFile, running_audit_file
from vecsec_policy.in_force.snapshot import PolicyAssignment, PolicyInForce, PolicySnapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.use_cases.decisions import EntryGate
from vecsec_policy.use_cases.violation_reports import ViolationPage, ViolationReports
from vecsec_policy.violations import index as violation_index
from vecsec_policy.violations.indexer import ViolationIndexing, running_violation_index
from vecsec_policy.violations.queries import Cursor, PageToken, ViolationFilter

NOON = 1_800_000_000.0
TENANT_A = ViolationFilter("tenant_a")
CLEARANCE, TOPIC, CROSS = ViolationType.CLEARANCE, ViolationType.TOPIC, ViolationType.CROSS_TENANT


def identity(role: str = "analyst", tenant_id: str = "tenant_a") -> Identity:
    return Identity(f"{role}-of-{tenant_id}", tenant_id, role, Sensitivity.SECRET, "issuer", 1e12)


ANALYST, SUPERUSER = identity(), identity("superuser")


@dataclass
class Service:
    """A log, its index and the reports from it."""

    audit_file: AuditFile
    reports: ViolationReports
    now: list[float]

    def record(self, who: Identity = ANALYST, at: float = NOON, **violations: int) -> str:
        """Record a check with violations, by the names of their types."""
        self.now[0] = at
        counts = {ViolationType[name]: count for name, count in violations.items()}
        return self.append(AuditedCall.CHECK, AuditedOutcome.ALLOWED, who, who.tenant_id, counts)

    def append(
        self,
        call: AuditedCall,
        outcome: AuditedOutcome,
        who: Identity,
        tenant_id: str,
        violations: dict[ViolationType, int],
    ) -> str:
        incident_id = unique_id()
        self.audit_file.append(
            AuditRecord(
                self.now[0], call, outcome, "", incident_id, who, tenant_id, Action.READ, "v1", violations=violations
            )
        )
        return incident_id

    async def counts(self, wanted: ViolationFilter = TENANT_A) -> dict[ViolationType, int]:
        counts = (await self.reports.count(SUPERUSER, wanted)).counts
        return {kind: count for kind, count in counts.violations.items() if count}

    async def page(
        self, size: int = 0, token: str = "", *, wanted: ViolationFilter = TENANT_A, newest_first: bool = False
    ) -> ViolationPage:
        return await self.reports.page(SUPERUSER, wanted, size=size, token=token, newest_first=newest_first)

    async def eventually(self, question: Callable[[], Awaitable[object]]) -> object:
        """The answer once there is one: a damaged index is made anew behind the callers' backs."""
        answers: list[object] = []

        async def is_answered() -> bool:
            with suppress(PolicyUnavailable):
                answers.append(await question())
            return bool(answers)

        await until(is_answered)
        return answers[0]


Start = Callable[..., AbstractContextManager[Service]]


@pytest.fixture
def start(tmp_path: Path, packaged: PolicySnapshot, metrics: PolicyMetrics) -> Start:
    @contextmanager
    def running(**settings: object) -> Iterator[Service]:
        log = LogSettings(tmp_path / "audit" / "policy.jsonl", "replica-1", **settings)  # type: ignore[arg-type]
        now = [NOON]
        with (
            running_audit_file(log, metrics) as audit_file,
            running_violation_index(audit_file, log.path.parent, metrics) as index,
        ):
            in_force = PolicyInForce(PolicyAssignment(packaged))
            gate = EntryGate(in_force, metrics, audit_file.append, clock=lambda: now[0])
            yield Service(audit_file, ViolationReports(gate, index), now)

    return running


async def test_counts_by_type_and_time_and_tenant(start: Start) -> None:
    with start() as service:
        service.record(CLEARANCE=2, TOPIC=1)
        service.record(at=NOON + 10, CLEARANCE=5)
        service.record(identity(tenant_id="tenant_b"), CLEARANCE=100)
        assert await service.counts() == {CLEARANCE: 7, TOPIC: 1}
        assert await service.counts(replace(TENANT_A, types=frozenset({TOPIC, CROSS}))) == {TOPIC: 1}
        assert await service.counts(replace(TENANT_A, start=NOON + 10)) == {CLEARANCE: 5}
        assert await service.counts(replace(TENANT_A, end=NOON + 10)) == {CLEARANCE: 2, TOPIC: 1}
        assert await service.counts(replace(TENANT_A, start=NOON + 11)) == {}
        counts = (await service.reports.count(SUPERUSER, TENANT_A)).counts
        assert (counts.since, counts.denied) == (NOON, 0)
        assert set(counts.violations) == set(ViolationType)


async def test_a_refused_call_is_denied_and_an_explanation_is_not(start: Start) -> None:
    with start() as service:
        with pytest.raises(AccessDenied):
            await service.reports.count(ANALYST, TENANT_A)
        service.append(AuditedCall.EXPLAIN, AuditedOutcome.DENIED, ANALYST, "tenant_b", {CROSS: 1})
        counts = (await service.reports.count(SUPERUSER, TENANT_A)).counts
        assert (counts.denied, counts.violations[CROSS]) == (1, 1)


async def test_only_who_may_configure_learns_anything_and_all_is_audited(start: Start) -> None:
    with start() as service:
        service.record(CLEARANCE=1)
        refusals = []
        for who, tenant_id in ((ANALYST, "tenant_a"), (SUPERUSER, "tenant_b"), (SUPERUSER, "nowhere")):
            wanted = ViolationFilter(tenant_id)
            with pytest.raises(VecSecError) as counting:
                await service.reports.count(who, wanted)
            with pytest.raises(VecSecError) as listing:
                await service.reports.page(who, wanted, size=0, token="", newest_first=False)
            refusals += [each.value.message.replace(tenant_id, "T") for each in (counting, listing)]
        assert len(set(refusals)) == 1
        await service.page()
        await service.audit_file.written()
        calls = [decision.call for decision in read_decisions(service.audit_file.path)][1:]
        assert calls == [AuditedCall.COUNT, AuditedCall.LIST] * 3 + [AuditedCall.LIST]


async def test_pages_follow_one_another_and_can_be_followed(start: Start) -> None:
    with start() as service:
        incidents = [service.record(at=NOON + number, CLEARANCE=number + 1) for number in range(5)]
        first = await service.page(2)
        assert [each.incident_id for each in first.violations] == incidents[:2]
        assert (first.violations[0].count, first.violations[0].subject, first.violations[0].time) == (
            1,
            "analyst-of-tenant_a",
            NOON,
        )
        rest = await service.page(10, first.next_token)
        assert [each.incident_id for each in rest.violations] == incidents[2:]
        assert (first.has_more, rest.has_more) == (True, False)
        nothing = await service.page(10, rest.next_token)
        assert (nothing.violations, nothing.next_token) == ([], rest.next_token)
        service.record(identity(tenant_id="tenant_b"), CLEARANCE=1)
        newest = service.record(TOPIC=1, CLEARANCE=1)
        followed = await service.page(10, nothing.next_token)
        assert [(each.incident_id, each.type) for each in followed.violations] == [(newest, TOPIC), (newest, CLEARANCE)]
        one = await service.page(1, nothing.next_token)
        assert [each.type for each in (await service.page(1, one.next_token)).violations] == [CLEARANCE]
        backwards = await service.page(3, newest_first=True)
        assert [each.incident_id for each in backwards.violations] == [newest, newest, incidents[4]]
        further = await service.page(9, backwards.next_token, newest_first=True)
        assert [each.incident_id for each in further.violations] == incidents[3::-1]


async def test_tokens_that_are_none_or_too_old_or_of_another_tenant_are_refused(start: Start) -> None:
    with start() as service:
        foreign = service.record(identity(tenant_id="tenant_b"), CLEARANCE=1)
        for token in (
            "x",
            "e30",
            "bnVsbA==",
            "eyJyIjpbMV19",
            str(PageToken({"replica-1": Cursor(foreign, CLEARANCE)})),
        ):
            with pytest.raises(InvalidRequest, match="page_token"):
                await service.page(token=token)
        service.record(TOPIC=1)
        elsewhere = str(PageToken({"replica-2": Cursor("incident", CLEARANCE)}))
        page = await service.page(token=elsewhere)
        assert [each.type for each in page.violations] == [TOPIC]
        assert set(PageToken.parse(page.next_token).cursors) == {"replica-1", "replica-2"}


@pytest.mark.parametrize("damage", ["none", "removed", "garbage", "truncated", "another version", "another log's"])
async def test_a_restart_keeps_the_counts_whatever_happens_to_the_index(
    tmp_path: Path, start: Start, damage: str
) -> None:
    index = tmp_path / "audit" / "policy.violations.sqlite"
    with start() as service:
        for number in range(50):
            service.record(at=NOON + number, CLEARANCE=1)
        assert await service.counts() == {CLEARANCE: 50}
        page = await service.page(20)
    damaged(index, damage)
    with start() as service:
        service.record(TOPIC=1)
        assert await service.eventually(service.counts) == {CLEARANCE: 50, TOPIC: 1}
        assert len((await service.page(100, page.next_token)).violations) == 31
    assert index.stat().st_mode & 0o777 == 0o600


def damaged(index: Path, damage: str) -> None:
    match damage:
        case "removed":
            index.unlink()
        case "garbage":
            index.write_bytes(b"garbage" * 1000)
        case "truncated":
            index.write_bytes(index.read_bytes()[:5000])
        case "another version":
            with sqlite3.connect(index) as connection:
                connection.execute("PRAGMA user_version = 999")
        case "another log's":
            with sqlite3.connect(index) as connection:
                connection.execute("UPDATE reached SET hash = 'other'")


async def test_an_index_that_is_damaged_or_removed_while_it_is_in_use_is_made_anew(
    tmp_path: Path, start: Start
) -> None:
    index = tmp_path / "audit" / "policy.violations.sqlite"
    with start() as service:
        for round_number in range(1, 3):
            service.record(CLEARANCE=1)
            assert await service.eventually(service.counts) == {CLEARANCE: round_number}
            index.unlink()
            with pytest.raises(PolicyUnavailable):
                await service.counts()
        assert await service.eventually(service.counts) == {CLEARANCE: 2}


async def test_counts_hold_over_rotation_and_forget_what_retention_removed(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(violation_index, "_LINES_AT_ONCE", 7)
    with start(file_bytes=5_000, files_kept=3) as service:
        for number in range(60):
            service.record(at=NOON + number, CLEARANCE=1)
            if number % 10 == 0:
                await service.audit_file.written()
        path = service.audit_file.path
        counted = (await service.reports.count(SUPERUSER, TENANT_A)).counts
        assert len(log_files(path)) == 4
        kept = [decision for decision in read_decisions(path) if decision.violations]
        assert 0 < len(kept) < 60
        assert counted.violations[CLEARANCE] == len(kept)
        oldest = json.loads(log_files(path)[0].read_text().splitlines()[0])
        assert counted.since == datetime.fromisoformat(oldest["time"]).timestamp()
    (tmp_path / "audit" / "policy.violations.sqlite").unlink()
    with start(file_bytes=5_000_000, files_kept=3) as service:
        assert (await service.counts())[CLEARANCE] == len(kept)


class HeldBeforeItIsCleared(threading.Event):
    """Meets the moment between a look at whether the index is closing and the clearing of what says that it is."""

    def __init__(self) -> None:
        super().__init__()
        self.is_about_to_be_cleared, self.goes_on = threading.Event(), threading.Event()

    def clear(self) -> None:
        self.is_about_to_be_cleared.set()
        self.goes_on.wait(PATIENCE_SECONDS)
        super().clear()


def test_an_index_that_is_closed_just_as_it_looks_for_news_ends(
    tmp_path: Path, metrics: PolicyMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_audit_file(LogSettings(tmp_path / "policy.jsonl"), metrics) as audit_file:
        indexing, news = ViolationIndexing(audit_file, tmp_path, metrics), HeldBeforeItIsCleared()
        monkeypatch.setattr(indexing, "_news", news)
        thread = threading.Thread(target=indexing.follow_until_closed, daemon=True)
        thread.start()
        assert news.is_about_to_be_cleared.wait(PATIENCE_SECONDS)
        indexing.close()
        news.goes_on.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
