"""The retrieval service as the use cases see it: with retries, within a budget, behind a circuit breaker."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from vecsec_chassis.errors import LimitExceeded, Reason, RetrievalUnavailable, VecSecError
from vecsec_gateway.circuit_breaker import CircuitBreakers, Outcome
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.metrics import GatewayMetrics
from vecsec_gateway.peer_failures import CircuitOpen, RetrievalTimedOut
from vecsec_gateway.peers import (
    BatchStored,
    Collection,
    FoundRows,
    GrantedBatch,
    IdPageRequest,
    LabelPageRequest,
    Lookup,
    Page,
    RetrievalPeer,
    Row,
    Search,
)
from vecsec_gateway.retries import RetryRules, retried
from vecsec_gateway.retry_budget import RetryBudget

Result = TypeVar("Result")

_FAILURES = frozenset({Reason.RETRIEVAL_UNAVAILABLE, Reason.STORE_DAMAGED, Reason.INTERNAL})
"""What counts as a failure of retrieval; everything else is an answer, if not the one that was hoped for."""


class ResilientRetrieval:
    """A retrieval peer around another one. Every unary call of it may be repeated: deleting twice deletes once."""

    def __init__(
        self,
        peer: RetrievalPeer,
        *,
        circuits: CircuitBreakers,
        budget: RetryBudget,
        attempts: int,
        timeout_seconds: float,
        is_silent: Callable[[], bool],
        metrics: GatewayMetrics,
    ) -> None:
        """`timeout_seconds` is for one try; `is_silent` says whether retrieval leaves its health unanswered, too."""
        self._peer = peer
        self._circuits = circuits
        self._budget = budget
        self._timeout_seconds = timeout_seconds
        self._is_silent = is_silent
        self._metrics = metrics
        self._rules = RetryRules(attempts=attempts, may_pass=_may_pass, on_retry=metrics.retrieval_retried)

    async def search(self, grant: str, search: Search, deadline: Deadline) -> FoundRows:
        """The nearest rows, nearest first."""
        return await self._call(
            "search", search.tenant_id, deadline, lambda until: self._peer.search(grant, search, until)
        )

    async def get(self, grant: str, lookup: Lookup, deadline: Deadline) -> list[Row]:
        """Rows by id."""
        return await self._call("get", lookup.tenant_id, deadline, lambda until: self._peer.get(grant, lookup, until))

    async def delete(self, grant: str, lookup: Lookup, deadline: Deadline) -> int:
        """Delete by id."""
        return await self._call(
            "delete", lookup.tenant_id, deadline, lambda until: self._peer.delete(grant, lookup, until)
        )

    async def list_collections(self, grant: str, tenant_id: str, deadline: Deadline) -> Sequence[Collection]:
        """The tenant's collections."""
        return await self._call(
            "list", tenant_id, deadline, lambda until: self._peer.list_collections(grant, tenant_id, until)
        )

    async def list_labels(self, grant: str, page: LabelPageRequest, deadline: Deadline) -> Page:
        """A page of the tenant's labels."""
        return await self._call(
            "list", page.tenant_id, deadline, lambda until: self._peer.list_labels(grant, page, until)
        )

    async def list_document_ids(self, grant: str, page: IdPageRequest, deadline: Deadline) -> Page:
        """A page of the ids of a collection's documents."""
        return await self._call(
            "list", page.tenant_id, deadline, lambda until: self._peer.list_document_ids(grant, page, until)
        )

    async def reread(self, grant: str, tenant_id: str, deadline: Deadline) -> None:
        """Let the tenant's documents be read from the store anew."""
        await self._call("reread", tenant_id, deadline, lambda until: self._peer.reread(grant, tenant_id, until))

    def store(self, batches: AsyncIterator[GrantedBatch]) -> AsyncGenerator[BatchStored, None]:
        """Passed on as it is: a stream cannot be tried again here, for what was read of it is gone."""
        return self._peer.store(batches)

    async def _call(
        self, operation: str, tenant_id: str, deadline: Deadline, attempt: Callable[[Deadline], Awaitable[Result]]
    ) -> Result:
        circuit = self._circuits.of(tenant_id)

        async def once() -> Result:
            # A try that the caller's own deadline cuts short says nothing about retrieval, unless it is silent anyway:
            # else a few impatient callers could open the circuit.
            had_its_time = self._is_silent() or deadline.remaining() >= self._timeout_seconds
            until = Deadline.after(min(self._timeout_seconds, deadline.remaining()))
            with circuit.attempt(lambda error: _judge(error, had_its_time=had_its_time)):
                return await attempt(until)

        started = time.perf_counter()
        try:
            result = await retried(once, rules=self._rules, deadline=deadline, budget=self._budget)
        except CircuitOpen:
            raise  # nothing was tried, so nothing failed
        except VecSecError as error:
            if error.reason in _FAILURES:
                self._metrics.retrieval_failed(operation, _metric_reason(error), time.perf_counter() - started)
            raise
        self._metrics.retrieval_answered(operation, time.perf_counter() - started)
        return result


def _may_pass(error: VecSecError) -> bool:
    if isinstance(error, CircuitOpen):
        return False
    # A limit without advice is a size that will not shrink; with advice it is a rate.
    return isinstance(error, RetrievalUnavailable) or (
        isinstance(error, LimitExceeded) and error.retry_after is not None
    )


def _metric_reason(error: VecSecError) -> Reason:
    """Too slow and not there are the same to callers, but not to whoever has to repair it."""
    return Reason.DEADLINE_EXCEEDED if isinstance(error, RetrievalTimedOut) else error.reason


def _judge(error: BaseException, *, had_its_time: bool) -> Outcome:
    if isinstance(error, RetrievalTimedOut):
        return Outcome.FAILED if had_its_time else Outcome.UNKNOWN
    if isinstance(error, RetrievalUnavailable):
        return Outcome.FAILED
    if isinstance(error, VecSecError):
        return Outcome.HEALTHY  # it answered, and refused
    return Outcome.UNKNOWN  # the caller hung up, or the fault is ours
