"""Lets the candidate decide beside the policy in force, and tells where they differ. Never changes an answer.

A call only leaves a note here. The candidate decides later, a few rows at a time with pauses between, so that requests
find the interpreter free; what there is no time for is dropped and counted.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from cachetools import LRUCache

from vecsec_chassis.calls import current_request_id
from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.telemetry.metrics import Lookups
from vecsec_policy.audit.records import AuditTrail
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import Standing, decide_entry, decide_rows
from vecsec_policy.in_force.snapshot import Arrangement, Candidate, PolicyInForce, PolicySnapshot
from vecsec_policy.shadow.counts import Difference, Question, ShadowCounts
from vecsec_policy.shadow.record import ShadowRecord

log = structlog.get_logger()

_WAITING_CALLS = 256
_PAUSE_SECONDS = 0.005
_ROWS_AT_ONCE = 20
"""About 1 ms of deciding between two pauses: a sixth of the interpreter's time at most."""
_REMEMBERED = 10_000
_SECONDS_BETWEEN_RECORDS = 1.0
"""Of one kind; the rest is in the counts."""
_REFUSED = Verdict(allowed=False, rule_ids=())


@dataclass(frozen=True, slots=True)
class _Call:
    """A call to be decided by the candidate too."""

    arrangement: Arrangement
    candidate: Candidate
    request_id: str
    identity: Identity
    tenant_id: str
    action: Action
    rows: Sequence[tuple[Label, Verdict]] | None = None
    """The rows of a check, as they were decided; None for a plan."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two verdicts on the same."""

    current: Verdict
    candidate: Verdict

    @property
    def change(self) -> Difference | None:
        if self.current.allowed == self.candidate.allowed:
            return None
        return Difference.GAINED if self.candidate.allowed else Difference.LOST


class Shadow:
    """Compares the candidate with the policy in force."""

    def __init__(self, policy: PolicyInForce, trail: AuditTrail, counts: ShadowCounts) -> None:
        self._policy = policy
        self._trail = trail
        self._counts = counts
        self._calls: asyncio.Queue[_Call] = asyncio.Queue(_WAITING_CALLS)
        self._standings: LRUCache[tuple[str, int | None, Identity, str, Action], Standing | None] = LRUCache(
            _REMEMBERED
        )
        self._verdicts: LRUCache[tuple[Standing, Label], Verdict] = LRUCache(_REMEMBERED)
        self.standing_lookups, self.verdict_lookups = Lookups(), Lookups()
        """How often the candidate had decided the same before."""
        self._next_record: dict[tuple[Question, Difference], float] = {}

    def planned(self, identity: Identity, tenant_id: str, action: Action) -> None:
        """Note that a plan was asked for."""
        self._note(identity, tenant_id, action, None)

    def checked(self, standing: Standing, verdicts: Mapping[Label, Verdict]) -> None:
        """Note how rows were decided."""
        if self._policy.arrangement.candidate is not None:
            self._note(standing.identity, standing.target.tenant_id, standing.action, tuple(verdicts.items()))

    def forget(self) -> LRUCache[tuple[Standing, Label], Verdict]:
        """Forget what other versions decided; what that was."""
        self._standings.clear()
        outdated, self._verdicts = self._verdicts, LRUCache(_REMEMBERED)
        return outdated

    async def run(self) -> None:
        """Let the candidate decide, for ever."""
        while True:
            call = await self._calls.get()
            await asyncio.sleep(_PAUSE_SECONDS)  # first the answer goes out
            try:
                await self._compare(call)
            except ValueError as error:  # of Cedar; nothing that the caller should notice
                self._counts.failed()
                log.warning("the candidate failed to decide", request_id=call.request_id, error=str(error))

    def _note(
        self, identity: Identity, tenant_id: str, action: Action, rows: Sequence[tuple[Label, Verdict]] | None
    ) -> None:
        arrangement = self._policy.arrangement
        candidate = arrangement.candidate
        if candidate is None or not candidate.rollout.shadows(tenant_id, identity):
            return
        try:
            self._calls.put_nowait(
                _Call(arrangement, candidate, current_request_id(), identity, tenant_id, action, rows)
            )
        except asyncio.QueueFull:
            self._counts.dropped()

    async def _compare(self, call: _Call) -> None:
        standing = self._standing(call.candidate.policy, call)
        if call.rows is None:
            current = self._standing(call.arrangement.current, call)
            self._counts.compared(Question.ENTRY, 1)
            self._tell(call, Question.ENTRY, None, _Pair(_entry(current), _entry(standing)))
            return
        if standing is None or not standing.entry.allowed:
            return  # told when the plan was made
        self._counts.compared(Question.ROW, len(call.rows))
        for start in range(0, len(call.rows), _ROWS_AT_ONCE):
            batch = call.rows[start : start + _ROWS_AT_ONCE]
            if self._decide(standing, [label for label, _ in batch]):
                await asyncio.sleep(_PAUSE_SECONDS)
            for label, verdict in batch:
                decided = self._verdicts.get((standing, label))
                if decided is not None:
                    self._tell(call, Question.ROW, label, _Pair(verdict, decided))

    def _standing(self, policy: PolicySnapshot, call: _Call) -> Standing | None:
        now = time.time()
        key = (policy.version, policy.day(now), call.identity, call.tenant_id, call.action)
        is_known = key in self._standings
        self.standing_lookups.count(found=is_known)
        if not is_known:
            try:
                self._standings[key] = decide_entry(policy, call.identity, call.tenant_id, call.action, now=now)
            except (AccessDenied, UnknownTenant):
                self._standings[key] = None
        return self._standings[key]

    def _decide(self, standing: Standing, labels: Sequence[Label]) -> bool:
        """Decide and remember; whether anything was to be decided."""
        new = [label for label in labels if (standing, label) not in self._verdicts]
        self.verdict_lookups.hits += len(labels) - len(new)
        self.verdict_lookups.misses += len(new)
        if new:
            for label, verdict in zip(new, decide_rows(standing, new), strict=True):
                self._verdicts[standing, label] = verdict
        return bool(new)

    def _tell(self, call: _Call, question: Question, label: Label | None, pair: _Pair) -> None:
        change, versions = pair.change, (call.arrangement.current.version, call.candidate.policy.version)
        if change is None:
            return
        known = call.arrangement.current.tenants.keys() | call.candidate.policy.tenants.keys()
        if call.tenant_id in known:
            self._counts.disagreed(versions[1], call.tenant_id, question, change)
        now = time.monotonic()
        if now < self._next_record.get((question, change), now):
            return
        self._next_record[question, change] = now + _SECONDS_BETWEEN_RECORDS
        self._trail.append(
            ShadowRecord(
                time=time.time(),
                request_id=call.request_id,
                identity=call.identity,
                tenant_id=call.tenant_id,
                action=call.action,
                question=question,
                change=change,
                label=label,
                current_version=versions[0],
                current=pair.current,
                candidate_version=versions[1],
                candidate=pair.candidate,
            )
        )


def _entry(standing: Standing | None) -> Verdict:
    return _REFUSED if standing is None else standing.entry
