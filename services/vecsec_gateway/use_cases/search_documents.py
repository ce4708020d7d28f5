"""One search, or several at once: plan, retrieve (or make up), check, answer."""

from collections.abc import Awaitable, Callable

import structlog

from vecsec_chassis.calls import note_mock
from vecsec_chassis.domain.errors import RealRetrievalOff, RetrievalUnavailable, VecSecError
from vecsec_chassis.flag.flag import RealRetrievalFlag
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_gateway.peers.call import Deadline
from vecsec_gateway.peers.contract import (
    Answer,
    CallContext,
    CircuitOpen,
    MockReason,
    Plan,
    Provenance,
    Search,
    SearchBatch,
)
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.use_cases.mock import mock_answer, mock_batch
from vecsec_gateway.use_cases.planning import Planning, require_real_retrieval

log = structlog.get_logger()

_RESERVED_SHARE = 0.25
"""Of the time that is left, kept back from retrieval for the check, and for the mock where retrieval fails."""


class SearchDocuments:
    """Finds the nearest rows among those that the caller may read."""

    def __init__(
        self, planning: Planning, retrieval: RetrievalClient, flag: RealRetrievalFlag, metrics: GatewayMetrics
    ) -> None:
        self._planning = planning
        self._retrieval = retrieval
        self._flag = flag
        self._metrics = metrics

    async def __call__(self, caller: CallContext, tenant_id: str, search: Search, *, mock_allowed: bool) -> Answer:
        """Search; `mock_allowed` says whether made-up rows are better than none.

        Raises:
            AccessDenied, UnknownTenant, CollectionNotFound, InvalidRequest, …: the refusals of the peers, as they are.
            PolicyUnavailable: without plan and verdicts there is no answer, not even a made-up one.
            RetrievalUnavailable, RealRetrievalOff: if there is nothing real and no mock is wanted.
        """

        return await self._answer(
            caller,
            tenant_id,
            lambda plan, deadline: self._retrieval.search(plan, search, deadline),
            (lambda plan, reason: mock_answer(plan, search, reason)) if mock_allowed else None,
        )

    async def batch(self, caller: CallContext, tenant_id: str, batch: SearchBatch, *, mock_allowed: bool) -> Answer:
        """The same for several queries at once; `queries` of the answer says which could not be answered, and why.

        Raises:
            VecSecError: as a single search does, for what keeps all of them from being answered.
        """
        answer = await self._answer(
            caller,
            tenant_id,
            lambda plan, deadline: self._retrieval.search_batch(plan, batch, deadline),
            (lambda plan, reason: mock_batch(plan, batch, reason)) if mock_allowed else None,
        )
        if any(each.is_not_found for each in answer.queries):
            self._planning.forget_reading(caller, tenant_id)
        return answer

    async def _answer(
        self,
        caller: CallContext,
        tenant_id: str,
        real: Callable[[Plan, Deadline], Awaitable[Answer]],
        made_up: Callable[[Plan, MockReason], Awaitable[Answer]] | None,
    ) -> Answer:
        async def find(plan: Plan) -> Answer:
            return await self._find(plan, real, made_up, caller.deadline)

        answer = await self._planning.read(caller, tenant_id, find)
        if answer.mock_reason is not None:
            self._count_mock(answer.mock_reason)
        annotate_span(provenance=Provenance.REAL if answer.mock_reason is None else Provenance.MOCK)
        return answer

    async def _find(
        self,
        plan: Plan,
        real: Callable[[Plan, Deadline], Awaitable[Answer]],
        made_up: Callable[[Plan, MockReason], Awaitable[Answer]] | None,
        deadline: Deadline,
    ) -> Answer:
        reason: MockReason
        error: VecSecError
        try:
            require_real_retrieval(self._flag, plan.tenant_id)
            return await real(plan, deadline.with_reserve(_RESERVED_SHARE))
        except RealRetrievalOff as off:
            reason, error = MockReason.FLAG_OFF, off
        except CircuitOpen as circuit_open:
            reason, error = MockReason.CIRCUIT_OPEN, circuit_open
        except RetrievalUnavailable as unavailable:
            reason, error = MockReason.RETRIEVAL_FAILED, unavailable
        if made_up is None:
            raise error
        _log(reason, error, plan.tenant_id)
        return await made_up(plan, reason)

    def _count_mock(self, reason: MockReason) -> None:
        """Once a call, and only where the caller gets it: a search may be done twice, and its check may fail."""
        note_mock(reason.value)
        self._metrics.mocked(reason.value)
        if reason is MockReason.CIRCUIT_OPEN:
            self._metrics.retrieval_skipped("search")


def _log(reason: MockReason, error: VecSecError, tenant_id: str) -> None:
    if reason is MockReason.FLAG_OFF:
        log.info("Real vector retrieval is off, answering with the mock", tenant_id=tenant_id)
    else:
        log.warning(
            "Real vector retrieval failed, falling back to mock",
            tenant_id=tenant_id,
            reason=reason.value,
            detail=error.detail or error.message,
        )
