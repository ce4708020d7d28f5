"""Lets the candidate decide beside the policy in force, and tells where they differ. Never changes an answer.

A call only leaves a note here. The candidate decides later, a few rows at a time with pauses between, so that requests
find the interpreter free; what there is no time for is dropped and counted.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog
from cachetools import LRUCache

from vecsec_chassis.calls import current_request_id
from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_policy.audit.records import Record
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import TenantAccess, decide_entry, decide_rows
from vecsec_policy.in_force.snapshot import PolicyInForce, PolicySnapshot
from vecsec_policy.shadow.counts import ShadowChange, ShadowCounts, ShadowQuestion
from vecsec_policy.shadow.record import ShadowedCall, ShadowRecord

log = structlog.get_logger()

_WAITING_CALLS = 256
_PAUSE_SECONDS = 0.005
_ROWS_AT_ONCE = 20
"""About 1 ms of deciding between two pauses: a sixth of the interpreter's time at most."""
_REMEMBERED = 10_000
_SECONDS_BETWEEN_RECORDS = 1.0
"""Of one kind; the rest is in the counts."""
_REFUSED = Verdict(allowed=False, rule_ids=())


class ShadowEvaluator:
    """Compares the candidate with the policy in force."""

    def __init__(self, policy: PolicyInForce, append: Callable[[Record], None], counts: ShadowCounts) -> None:
        """`append` takes the audit records."""
        self._policy = policy
        self._append = append
        self._counts = counts
        self._calls: asyncio.Queue[ShadowedCall] = asyncio.Queue(_WAITING_CALLS)
        self._accesses: LRUCache[tuple[str, int | None, Identity, str, Action], TenantAccess | None] = LRUCache(
            _REMEMBERED
        )
        self._verdicts: LRUCache[tuple[TenantAccess, Label], Verdict] = LRUCache(_REMEMBERED)
        self.standing_lookups, self.verdict_lookups = CacheCounter(), CacheCounter()
        """How often the candidate had decided the same before."""
        self._next_record: dict[tuple[ShadowQuestion, ShadowChange], float] = {}

    def note(
        self, identity: Identity, tenant_id: str, action: Action, rows: Sequence[tuple[Label, Verdict]] | None = None
    ) -> None:
        """Note that a plan was asked for or, with `rows`, how a check decided them."""
        assignment = self._policy.assignment
        candidate = assignment.candidate
        if candidate is None or not candidate.rollout.shadows(tenant_id, identity):
            return
        try:
            self._calls.put_nowait(
                ShadowedCall(assignment, candidate, current_request_id(), identity, tenant_id, action, rows)
            )
        except asyncio.QueueFull:
            self._counts.dropped.add(1)

    def forget(self) -> LRUCache[tuple[TenantAccess, Label], Verdict]:
        """Forget what other versions decided; what that was."""
        self._accesses.clear()
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
                self._counts.failures.add(1)
                log.warning("the candidate failed to decide", request_id=call.request_id, error=str(error))

    async def _compare(self, call: ShadowedCall) -> None:
        access = self._access(call.candidate.policy, call)
        if call.rows is None:
            current = self._access(call.assignment.current, call)
            self._counts.comparisons.add(1, ShadowQuestion.ENTRY.value)
            self._tell(call, ShadowQuestion.ENTRY, None, _entry_verdict(current), _entry_verdict(access))
            return
        if access is None or not access.entry.allowed:
            return  # told when the plan was made
        self._counts.comparisons.add(len(call.rows), ShadowQuestion.ROW.value)
        for start in range(0, len(call.rows), _ROWS_AT_ONCE):
            batch = call.rows[start : start + _ROWS_AT_ONCE]
            if self._decide(access, [label for label, _ in batch]):
                await asyncio.sleep(_PAUSE_SECONDS)
            for label, verdict in batch:
                decided = self._verdicts.get((access, label))
                if decided is not None:
                    self._tell(call, ShadowQuestion.ROW, label, verdict, decided)

    def _access(self, policy: PolicySnapshot, call: ShadowedCall) -> TenantAccess | None:
        now = time.time()
        key = (policy.version, policy.day(now), call.identity, call.tenant_id, call.action)
        is_known = key in self._accesses
        self.standing_lookups.count(found=is_known)
        if not is_known:
            try:
                self._accesses[key] = decide_entry(policy, call.identity, call.tenant_id, call.action, now=now)
            except (AccessDenied, UnknownTenant):
                self._accesses[key] = None
        return self._accesses[key]

    def _decide(self, access: TenantAccess, labels: Sequence[Label]) -> bool:
        """Decide and remember; whether anything was to be decided."""
        new = [label for label in labels if (access, label) not in self._verdicts]
        self.verdict_lookups.hits += len(labels) - len(new)
        self.verdict_lookups.misses += len(new)
        if new:
            for label, verdict in zip(new, decide_rows(access, new), strict=True):
                self._verdicts[access, label] = verdict
        return bool(new)

    def _tell(
        self, call: ShadowedCall, question: ShadowQuestion, label: Label | None, current: Verdict, candidate: Verdict
    ) -> None:
        if current.allowed == candidate.allowed:
            return
        change = ShadowChange.GAINED if candidate.allowed else ShadowChange.LOST
        decides, tried = call.assignment.current, call.candidate.policy
        if call.tenant_id in decides.tenants or call.tenant_id in tried.tenants:
            self._counts.disagreed(tried.version, call.tenant_id, question, change)
        now = time.monotonic()
        if now < self._next_record.get((question, change), now):
            return
        self._next_record[question, change] = now + _SECONDS_BETWEEN_RECORDS
        self._append(ShadowRecord(time.time(), call, question, change, label, current, candidate))


def _entry_verdict(access: TenantAccess | None) -> Verdict:
    return _REFUSED if access is None else access.entry
