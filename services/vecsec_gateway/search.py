"""One search: plan, retrieve (or make up), check, answer."""

from dataclasses import dataclass

import structlog

from vecsec_chassis.errors import RealRetrievalOff, RetrievalUnavailable, VecSecError
from vecsec_chassis.tracing import note
from vecsec_gateway.checking import CheckedRows, RowCheck, is_mock, is_real
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.flag_off import require_real_retrieval
from vecsec_gateway.metrics import GatewayMetrics
from vecsec_gateway.mock import MockReason, mock_rows
from vecsec_gateway.peer_failures import CircuitOpen
from vecsec_gateway.peers import Flag, FoundRows, Plan, Provenance, RetrievalPeer, Row, Search
from vecsec_gateway.planning import Planning

log = structlog.get_logger()

_RESERVED_SHARE = 0.25
"""Of the time that is left, kept back from retrieval for the check, and for the mock where retrieval fails."""


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What the caller gets."""

    rows: list[Row]
    mock_reason: MockReason | None
    """Why the rows are made up; None if they are real."""
    policy_version: str
    strategy: str
    """How retrieval searched; empty for made-up rows, and unless the caller may configure the tenant."""

    @property
    def provenance(self) -> Provenance:
        """Of the answer and of each of its rows."""
        return Provenance.REAL if self.mock_reason is None else Provenance.MOCK


@dataclass(frozen=True, slots=True)
class _Found:
    rows: list[Row]
    mock_reason: MockReason | None
    strategy: str = ""


class SearchDocuments:
    """Finds the nearest rows among those that the caller may read."""

    def __init__(
        self, planning: Planning, retrieval: RetrievalPeer, check: RowCheck, flag: Flag, metrics: GatewayMetrics
    ) -> None:
        self._planning = planning
        self._retrieval = retrieval
        self._check = check
        self._flag = flag
        self._metrics = metrics

    async def __call__(self, search: Search, *, mock_allowed: bool, deadline: Deadline) -> SearchAnswer:
        """Search; `mock_allowed` says whether made-up rows are better than none.

        Raises:
            AccessDenied, UnknownTenant, CollectionNotFound, InvalidRequest, …: the refusals of the peers, as they are.
            PolicyUnavailable: without plan and verdicts there is no answer, not even a made-up one.
            RetrievalUnavailable, RealRetrievalOff: if there is nothing real and no mock is wanted.
        """

        async def check(plan: Plan, found: _Found) -> CheckedRows:
            is_genuine = is_real if found.mock_reason is None else is_mock
            return await self._check.keep_allowed(found.rows, search.tenant_id, plan, is_genuine, deadline)

        found, checked = await self._planning.read(
            search.tenant_id,
            deadline,
            lambda plan: self._find(search, plan, mock_allowed=mock_allowed, deadline=deadline),
            check,
        )
        answer = SearchAnswer(checked.rows, found.mock_reason, checked.policy_version, found.strategy)
        note(
            provenance=answer.provenance,
            result_count=len(answer.rows),
            withheld_count=len(found.rows) - len(answer.rows),
            policy=answer.policy_version,
        )
        return answer

    async def _find(self, search: Search, plan: Plan, *, mock_allowed: bool, deadline: Deadline) -> _Found:
        reason: MockReason
        error: VecSecError
        try:
            found = await self._retrieve(search, plan, deadline)
            return _Found(found.rows[: search.k], None, found.strategy)
        except RealRetrievalOff as off:
            reason, error = MockReason.FLAG_OFF, off
        except CircuitOpen as circuit_open:
            reason, error = MockReason.CIRCUIT_OPEN, circuit_open
        except RetrievalUnavailable as unavailable:
            reason, error = MockReason.RETRIEVAL_FAILED, unavailable
        if not mock_allowed:
            raise error
        self._report(reason, error, search.tenant_id)
        return _Found(mock_rows(search, plan.topics), reason)

    async def _retrieve(self, search: Search, plan: Plan, deadline: Deadline) -> FoundRows:
        require_real_retrieval(self._flag, search.tenant_id)
        return await self._retrieval.search(plan.grant, search, deadline.with_reserve(_RESERVED_SHARE))

    def _report(self, reason: MockReason, error: VecSecError, tenant_id: str) -> None:
        self._metrics.mocked(reason.value)
        if reason is MockReason.CIRCUIT_OPEN:
            self._metrics.retrieval_left_alone("search")
        if reason is MockReason.FLAG_OFF:
            log.info("Real vector retrieval is off, answering with the mock", tenant_id=tenant_id)
        else:
            log.warning(
                "Real vector retrieval failed, falling back to mock",
                tenant_id=tenant_id,
                reason=reason.value,
                detail=error.detail or error.message,
            )
