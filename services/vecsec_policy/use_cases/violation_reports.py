"""Use cases: count and list violations, for whoever may configure the tenant."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_policy.audit.records import AuditedCall
from vecsec_policy.use_cases.decisions import EntryGate
from vecsec_policy.violations.indexer import ViolationIndexing
from vecsec_policy.violations.queries import (
    Cursor,
    ListedViolation,
    PageToken,
    ViolationCounts,
    ViolationFilter,
    ViolationQueries,
)

_DEFAULT_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class ViolationPage:
    """Some of the violations."""

    violations: Sequence[ListedViolation]
    next_token: str
    """Goes on behind these; empty only where there is nothing to go on from."""
    has_more: bool
    """Whether there are more already."""
    policy_version: str
    """By which the caller may ask."""


@dataclass(frozen=True, slots=True)
class CountedViolations:
    """How often rules were broken."""

    counts: ViolationCounts
    policy_version: str
    """By which the caller may ask."""


class ViolationReports:
    """Shows violations of the callers of a tenant."""

    def __init__(self, gate: EntryGate, index: ViolationIndexing) -> None:
        self._gate = gate
        self._index = index

    @property
    def replica_id(self) -> str:
        """Whose audit log the answers are from."""
        return self._index.replica_id

    async def count(self, identity: Identity, wanted: ViolationFilter) -> CountedViolations:
        """How often rules were broken.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
            PolicyUnavailable: if nobody knows now.
        """
        access = self._gate.admit_to_configure(AuditedCall.COUNT, identity, wanted.tenant_id)
        counts = await self._index.ask(lambda queries: queries.count(wanted))
        return CountedViolations(counts, access.policy.version)

    async def page(
        self, identity: Identity, wanted: ViolationFilter, *, size: int, token: str, newest_first: bool
    ) -> ViolationPage:
        """Up to `size` violations (0: the default number) behind the token's place.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
            InvalidRequest: if the token is none, or the violation that it names is not known any more.
            PolicyUnavailable: if nobody knows now.
        """
        access = self._gate.admit_to_configure(AuditedCall.LIST, identity, wanted.tenant_id)
        before = PageToken.parse(token)
        cursor = before.cursors.get(self.replica_id)
        limit = size or _DEFAULT_PAGE_SIZE

        def look(queries: ViolationQueries) -> Sequence[ListedViolation]:
            behind = None
            if cursor is not None:
                behind = queries.position_of(wanted.tenant_id, cursor.incident_id, cursor.type)
                if behind is None:
                    raise InvalidRequest.of("page_token", "names a violation that is not known any more; begin anew")
            # One more than is wanted tells whether there are more.
            return queries.page(wanted, behind=behind, limit=limit + 1, newest_first=newest_first)

        found = await self._index.ask(look)
        shown = found[:limit]
        after = before
        if shown:
            after = before.moved(self.replica_id, Cursor(shown[-1].incident_id, shown[-1].type))
        return ViolationPage(shown, str(after), has_more=len(found) > limit, policy_version=access.policy.version)
