"""The retrieval service over gRPC: with retries within a budget, behind a circuit breaker for each tenant.

It gets the grant and nothing else that says who calls. Every unary call may be repeated: deleting twice deletes once.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar

import grpc
from opentelemetry.trace import Tracer

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.retrieval.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from vecsec.type.v1 import document_pb2
from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.errors import LimitExceeded, Reason, RetrievalUnavailable, VecSecError
from vecsec_gateway.peers.call import Deadline, Response, RetryBudget, RetryRules, call_unary, retried, traced
from vecsec_gateway.peers.circuit_breaker import AttemptOutcome, CircuitBreakers
from vecsec_gateway.peers.contract import (
    Answer,
    BatchStored,
    BatchToStore,
    CircuitOpen,
    Collection,
    Deletion,
    Document,
    ExportPage,
    ExportPageRequest,
    IdPage,
    IdPageRequest,
    LabelMessage,
    LabelPage,
    LabelPageRequest,
    Lookup,
    Plan,
    Provenance,
    RetrievalTimedOut,
    Row,
    Search,
)
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.status import retrieval_error
from vecsec_gateway.transport.lane_channel import LaneChannel

_SERVICE = "vecsec.retrieval.v1.RetrievalService"
_OPERATIONS = {
    "SearchDocuments": "search",
    "GetDocuments": "get",
    "DeleteDocuments": "delete",
    "ListCollections": "list",
    "ListLabels": "list",
    "ListDocumentIds": "list",
    "ExportDocuments": "export",
    "RereadTenant": "reread",
}
"""What metrics call the methods."""
_FAILURES = frozenset({Reason.RETRIEVAL_UNAVAILABLE, Reason.STORE_DAMAGED, Reason.INTERNAL})
"""What counts as a failure of retrieval; everything else is an answer, if not the one that was hoped for."""
PROVENANCES = {
    document_pb2.PROVENANCE_UNSPECIFIED: Provenance.UNKNOWN,
    document_pb2.PROVENANCE_REAL: Provenance.REAL,
    document_pb2.PROVENANCE_MOCK: Provenance.MOCK,
}

_Granted = TypeVar(
    "_Granted",
    retrieval_pb2.SearchDocumentsRequest,
    retrieval_pb2.GetDocumentsRequest,
    retrieval_pb2.DeleteDocumentsRequest,
    retrieval_pb2.ListCollectionsRequest,
    retrieval_pb2.ListLabelsRequest,
    retrieval_pb2.ListDocumentIdsRequest,
    retrieval_pb2.ExportDocumentsRequest,
    retrieval_pb2.RereadTenantRequest,
)


class RetrievalClient:
    """The retrieval service, to the use cases. It learns nothing of the caller but the plan's grant.

    Every method raises RetrievalUnavailable where it does not answer in time, and retrieval's own errors as they are.
    """

    def __init__(
        self,
        channel: LaneChannel,
        tracer: Tracer,
        *,
        circuits: CircuitBreakers,
        attempts: int,
        timeout_seconds: float,
        is_silent: Callable[[], bool],
        metrics: GatewayMetrics,
    ) -> None:
        """`timeout_seconds` is for one try, of which there are at most `attempts`; `is_silent` says whether retrieval
        leaves its health unanswered, too."""
        self._stub = RetrievalServiceStub(channel.as_channel())
        self._tracer = tracer
        self._circuits = circuits
        self._budget = RetryBudget(time.monotonic)
        self._timeout_seconds = timeout_seconds
        self._is_silent = is_silent
        self._metrics = metrics
        self._rules = RetryRules(attempts=attempts, may_pass=_is_transient, on_retry=metrics.retrieval_retried)

    async def search(self, plan: Plan, search: Search, deadline: Deadline) -> Answer:
        """The nearest rows, as many as were asked for at most."""
        response = await self._call(self._stub.SearchDocuments, "SearchDocuments", plan, search, deadline)
        found = (
            (scored.document, scored.score, PROVENANCES.get(scored.provenance, Provenance.UNKNOWN))
            for scored in response.results[: search.k]
        )
        return found_rows(found, response.strategy)

    async def get(self, plan: Plan, lookup: Lookup, deadline: Deadline) -> Answer:
        """Rows by id; their provenance goes without saying, for only searches are ever made up."""
        response = await self._call(self._stub.GetDocuments, "GetDocuments", plan, lookup, deadline)
        return found_rows((document, 0.0, Provenance.REAL) for document in response.documents)

    async def delete(self, plan: Plan, deletion: Deletion, deadline: Deadline) -> int:
        """Delete by id; says how many were deleted."""
        response = await self._call(self._stub.DeleteDocuments, "DeleteDocuments", plan, deletion, deadline)
        return response.deleted_count

    async def list_collections(self, plan: Plan, deadline: Deadline) -> Sequence[Collection]:
        """The tenant's collections that hold documents visible under the grant."""
        request = retrieval_pb2.ListCollectionsRequest()
        response = await self._call(self._stub.ListCollections, "ListCollections", plan, request, deadline)
        return response.collections

    async def list_labels(self, plan: Plan, page: LabelPageRequest, deadline: Deadline) -> LabelPage:
        """A page of the labels that the grant sees."""
        return await self._call(self._stub.ListLabels, "ListLabels", plan, page, deadline)

    async def list_document_ids(self, plan: Plan, page: IdPageRequest, deadline: Deadline) -> IdPage:
        """A page of the ids of documents that the grant sees."""
        return await self._call(self._stub.ListDocumentIds, "ListDocumentIds", plan, page, deadline)

    async def export(self, plan: Plan, wanted: ExportPageRequest, deadline: Deadline) -> tuple[ExportPage, Answer]:
        """A page of all documents that the grant sees; the page itself, and its rows."""
        response = await self._call(self._stub.ExportDocuments, "ExportDocuments", plan, wanted, deadline)
        return response, found_rows((document, 0.0, Provenance.REAL) for document in response.documents)

    async def reread(self, plan: Plan, deadline: Deadline) -> None:
        """Let the tenant's documents be read from the store anew."""
        request = retrieval_pb2.RereadTenantRequest()
        await self._call(self._stub.RereadTenant, "RereadTenant", plan, request, deadline)

    async def store(
        self, batches: AsyncIterator[BatchToStore], deadline: Deadline | None
    ) -> AsyncGenerator[BatchStored, None]:
        """Store batches as they come; the first bears a grant, and later ones where it is renewed.

        An error of `batches` ends the stream after what was sent before is durable. It is not tried again: what was
        read of a stream is gone.
        """
        broken_off: list[Exception] = []
        sent = acknowledged = 0
        is_sent = False

        async def send() -> None:
            # An import whose batches break off is ended in good order, and the error raised once everything sent before
            # is acknowledged: of a call that is cancelled, the caller does not learn what is already durable.
            nonlocal sent, is_sent
            try:
                async for batch in batches:
                    sent += 1
                    try:
                        await call.write(batch)
                    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        return  # the call has ended; only reading tells how
            except Exception as error:  # noqa: BLE001 (whatever it is, it is raised below)
                broken_off.append(error)
            except BaseException:
                call.cancel()
                raise
            is_sent = True
            await call.done_writing()

        with traced(self._tracer, f"{_SERVICE}/ImportDocuments") as metadata:
            timeout = None if deadline is None else deadline.remaining()
            call = self._stub.ImportDocuments(timeout=timeout, metadata=metadata)
            # In a task of our own: gRPC's would go on waiting for batches when the call has ended.
            async with running_in_background(send(), "send batches to retrieval", may_end=True):
                try:
                    async for response in call:
                        acknowledged += 1
                        yield response
                except grpc.aio.AioRpcError as error:
                    raise retrieval_error(error) from error
                finally:
                    call.cancel()  # does nothing to a call that is done
        if broken_off:
            raise broken_off[0]
        if not is_sent or acknowledged < sent:
            raise RetrievalUnavailable(
                "the import was cut off; resume it after the last acknowledged batch",
                detail=f"retrieval ended the stream after {acknowledged} of {sent} batches, and more may have come",
            )

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Granted, Response]",
        name: str,
        plan: Plan,
        request: _Granted,
        deadline: Deadline,
    ) -> Response:
        request.grant = plan.grant  # the request is made for one call of ours, and done again only with a newer plan
        circuit = self._circuits.of(plan.tenant_id)

        async def once() -> Response:
            remaining = deadline.remaining()
            with circuit.attempt(lambda error: self._judge(error, remaining)):
                try:
                    return await call_unary(
                        method,
                        f"{_SERVICE}/{name}",
                        request,
                        seconds=min(self._timeout_seconds, remaining),
                        tracer=self._tracer,
                    )
                except grpc.aio.AioRpcError as error:
                    raise retrieval_error(error) from error

        operation, started = _OPERATIONS[name], time.perf_counter()
        try:
            response = await retried(once, rules=self._rules, deadline=deadline, budget=self._budget)
        except CircuitOpen:
            raise  # nothing was tried, so nothing failed
        except VecSecError as error:
            if error.reason in _FAILURES:
                self._metrics.retrieval_failed(operation, _metric_reason(error), time.perf_counter() - started)
            raise
        self._metrics.retrieval_answered(operation, time.perf_counter() - started)
        return response

    def _judge(self, error: BaseException, seconds: float) -> AttemptOutcome:
        """What the failure of a try says about retrieval; the caller had given it so many seconds."""
        if isinstance(error, RetrievalTimedOut):
            # A try that the caller's own deadline cuts short says nothing, unless retrieval is silent anyway: else some
            # impatient callers could open the circuit.
            return (
                AttemptOutcome.FAILED
                if seconds >= self._timeout_seconds or self._is_silent()
                else AttemptOutcome.UNKNOWN
            )
        if isinstance(error, RetrievalUnavailable):
            return AttemptOutcome.FAILED
        if isinstance(error, VecSecError):
            return AttemptOutcome.HEALTHY  # it answered, and refused
        return AttemptOutcome.UNKNOWN  # the caller hung up, or the fault is ours


def found_rows(found: Iterable[tuple[Document, float, Provenance]], strategy: str = "") -> Answer:
    """Documents, each with score and provenance, as rows; documents with equal labels share one.

    Labels go on to the policy service as they came: it judges them, and whether they can be labels at all.
    """
    rows: list[Row] = []
    labels: list[LabelMessage] = []
    places: dict[bytes, int] = {}
    for document, score, provenance in found:
        label = document.label
        key = label.SerializeToString(deterministic=True)
        place = places.get(key)
        if place is None:
            place = places[key] = len(labels)
            labels.append(label)
        rows.append(Row(document.document_id, place, score, provenance, document))
    return Answer(rows, labels, strategy)


def _is_transient(error: VecSecError) -> bool:
    if isinstance(error, CircuitOpen):
        return False
    # A limit without advice is a size that will not shrink; with advice it is a rate.
    return isinstance(error, RetrievalUnavailable) or (
        isinstance(error, LimitExceeded) and error.retry_after is not None
    )


def _metric_reason(error: VecSecError) -> Reason:
    """Too slow and not there are the same to callers, but not to whoever has to repair it."""
    return Reason.DEADLINE_EXCEEDED if isinstance(error, RetrievalTimedOut) else error.reason
