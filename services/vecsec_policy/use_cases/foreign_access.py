"""Use cases: take down what grants that cross tenants were used for, and show a tenant who of others was in it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from vecsec_chassis.auth.grants import GrantVerifier
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import AuditUnavailable, InvalidGrant, InvalidRequest
from vecsec_policy.audit.foreign_use import ForeignUseRecord, ReportedUse
from vecsec_policy.audit.records import AuditedCall
from vecsec_policy.audit.writer import AuditFile
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.use_cases.decisions import EntryGate
from vecsec_policy.violations.foreign_access import ForeignAccessFilter, ForeignKind, ListedForeignAccess
from vecsec_policy.violations.indexer import ViolationIndexing
from vecsec_policy.violations.queries import Cursor, PageToken, ViolationQueries

log = structlog.get_logger()

LATE_SECONDS = 86_400.0
"""So long after its end a grant still proves whose it was."""
_WRITTEN_WITHIN_SECONDS = 2.0
_TOLD_REASONS = 3
_RETRY_SECONDS = 5.0
_DEFAULT_PAGE_SIZE = 100
_MOST_KNOWN_USES = 50_000
"""Of so many it is known that they were recorded: five times what one retrieval keeps to tell."""


class UseRecorder:
    """Takes reports down. Whoever brings one need not be believed: the grants in it were signed here."""

    def __init__(
        self,
        verifier: GrantVerifier,
        audit_file: AuditFile,
        metrics: PolicyMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`verifier` lets grants be late by `LATE_SECONDS`."""
        self._verifier = verifier
        self._audit_file = audit_file
        self._metrics = metrics
        self._clock = clock
        self._recorded: dict[str, None] = {}
        """Ids of uses that the audit log has taken, the oldest first: what is told again is not written again."""

    async def record(self, uses: Sequence[ReportedUse]) -> Sequence[str]:
        """Have uses on the disk; the ids of those that were refused.

        Raises:
            AuditUnavailable: if that cannot be had now; then all may be reported again.
        """
        if not self._audit_file.is_recording():
            raise self._unavailable()
        refused: dict[str, str] = {}
        for use in uses:
            await asyncio.sleep(0)  # decisions go before: a report may bring a hundred signatures
            if use.use_id in self._recorded:
                continue
            try:
                grant = await self._verifier.verify(use.grant)
            except InvalidGrant as error:
                refused[use.use_id] = error.detail or str(error)
                continue
            if not grant.crosses_tenants:
                refused[use.use_id] = "the grant crosses no tenants"
                continue
            self._take_down(ForeignUseRecord(self._clock(), grant, use))
        if refused:
            reasons = sorted(set(refused.values()))[:_TOLD_REASONS]
            log.warning("uses of grants are not taken down", uses=len(refused), reasons=reasons)
        await self._demand_written()
        return tuple(refused)

    def _take_down(self, record: ForeignUseRecord) -> None:
        if not self._audit_file.offer(record):
            raise self._unavailable()
        self._metrics.foreign_calls.add(record.use.calls, record.grant.action.value)
        self._recorded[record.use.use_id] = None
        if len(self._recorded) > _MOST_KNOWN_USES:
            del self._recorded[next(iter(self._recorded))]

    async def _demand_written(self) -> None:
        try:
            async with asyncio.timeout(_WRITTEN_WITHIN_SECONDS):
                await self._audit_file.written()
        except TimeoutError as error:
            raise self._unavailable() from error

    def _unavailable(self) -> AuditUnavailable:
        return AuditUnavailable(
            "the audit log cannot be written now; report again in a moment", retry_after=_RETRY_SECONDS
        )


@dataclass(frozen=True, slots=True)
class ForeignAccessPage:
    """Some of what callers of other tenants did."""

    accesses: Sequence[ListedForeignAccess]
    next_token: str
    """Goes on behind these; empty only where there is nothing to go on from."""
    has_more: bool
    """Whether there are more already."""
    since: float
    """When the oldest record of the audit log was written, in seconds since the epoch; 0 if there is none."""
    policy_version: str
    """By which the caller may ask."""


class ForeignAccessReports:
    """Shows a tenant who of others was in it."""

    def __init__(self, gate: EntryGate, index: ViolationIndexing) -> None:
        self._gate = gate
        self._index = index

    async def page(
        self, identity: Identity, wanted: ForeignAccessFilter, *, size: int, token: str, newest_first: bool
    ) -> ForeignAccessPage:
        """Up to `size` (0: the default number) behind the token's place, for the tenant's own callers alone: who else
        was there is not for others who may enter it.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit_to_configure_own`.
            InvalidRequest: if the token is none, or what it names is not known any more.
            PolicyUnavailable: if nobody knows now.
        """
        access = self._gate.admit_to_configure_own(AuditedCall.LIST, identity, wanted.tenant_id)
        before = PageToken.parse(token, ForeignKind, method="ListForeignAccess")
        cursor = before.cursors.get(self._index.replica_id)
        limit = size or _DEFAULT_PAGE_SIZE

        def look(queries: ViolationQueries) -> tuple[Sequence[ListedForeignAccess], float]:
            behind = None
            if cursor is not None:
                behind = queries.position_of_foreign_access(wanted.tenant_id, cursor.incident_id)
                if behind is None:
                    raise InvalidRequest.of("page_token", "names what is not known any more; begin anew")
            # One more than is wanted tells whether there are more.
            return queries.foreign_access(wanted, behind=behind, limit=limit + 1, newest_first=newest_first)

        found, since = await self._index.ask(look)
        shown = found[:limit]
        after = before
        if shown:
            after = before.moved(self._index.replica_id, Cursor(shown[-1].incident_id, shown[-1].kind))
        return ForeignAccessPage(shown, str(after), len(found) > limit, since, access.policy.version)
