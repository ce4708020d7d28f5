"""The gateway's RPCs: wire in, use case, wire out. What goes wrong is raised; the chassis turns it into a status."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

import grpc

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceServicer
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2
from vecsec_chassis.calls import current_request_id, current_token, time_remaining
from vecsec_chassis.domain.errors import DeadlineExceeded, PolicyUnavailable, RetrievalUnavailable
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.rpc.wire import (
    action_from_proto,
    attributes_from_proto,
    label_from_proto,
    label_to_proto,
    sensitivity_from_proto,
)
from vecsec_gateway.peers.call import Deadline
from vecsec_gateway.peers.contract import Answer, Batch, CallContext, CircuitOpen, MockReason, PolicyTimedOut
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.use_cases.documents import DocumentAccess
from vecsec_gateway.use_cases.import_documents import ImportDocuments
from vecsec_gateway.use_cases.search_documents import SearchDocuments

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

_RETRY_AFTER_SECONDS = 1.0
"""Advice to callers where a peer is out of reach and has given none."""
_NO_TIME_SECONDS = 0.01
"""Timers run out a little early; with less than this left, a call's time is over."""
_NUMBER_OF_MOCK_REASON = {
    None: gateway_pb2.MOCK_REASON_UNSPECIFIED,
    MockReason.FLAG_OFF: gateway_pb2.MOCK_REASON_FLAG_OFF,
    MockReason.RETRIEVAL_FAILED: gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED,
    MockReason.CIRCUIT_OPEN: gateway_pb2.MOCK_REASON_CIRCUIT_OPEN,
}


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the handlers hand over to."""

    search: SearchDocuments
    documents: DocumentAccess
    store: ImportDocuments
    policy: PolicyClient


class GatewayHandlers(GatewayServiceServicer):
    """The gateway service. Identity, request id and deadline come from the chassis' interceptors."""

    def __init__(self, use_cases: UseCases, default_deadline_seconds: float, metrics: GatewayMetrics) -> None:
        self._use_cases = use_cases
        self._metrics = metrics
        self._default_deadline_seconds = default_deadline_seconds

    async def SearchDocuments(  # noqa: N802
        self, request: gateway_pb2.SearchDocumentsRequest, _context: Context
    ) -> gateway_pb2.SearchDocumentsResponse:
        """Find the nearest documents among those the caller may read."""
        mock_allowed = request.fallback != gateway_pb2.FALLBACK_NONE
        search = retrieval_pb2.SearchDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            query=request.query,
            filter=request.filter if request.HasField("filter") else None,
            k=request.k,
            include_embeddings=request.include_embeddings,
        )
        async with self._call_with_deadline("search") as caller:
            answer = await self._use_cases.search(caller, request.tenant_id, search, mock_allowed=mock_allowed)
        return search_response(answer, current_request_id())

    async def ImportDocuments(  # noqa: N802
        self, requests: AsyncIterator[gateway_pb2.ImportDocumentsRequest], _context: Context
    ) -> AsyncIterator[gateway_pb2.ImportDocumentsResponse]:
        """Store documents batch by batch. The caller's deadline, if any, is for the whole stream."""

        async def batches() -> AsyncIterator[Batch]:
            async for request in requests:
                # In a thread: a thousand labels take 20 ms.
                yield await asyncio.to_thread(batch_of, request)

        remaining = time_remaining()
        deadline = None if remaining is None else Deadline.after(remaining)
        with _retry_advice(self._metrics):
            async with aclosing(self._use_cases.store(current_token(), batches(), deadline)) as acknowledgements:
                async for acknowledgement, policy_version in acknowledgements:
                    yield gateway_pb2.ImportDocumentsResponse(
                        batch_number=acknowledgement.batch_number,
                        stored_count=acknowledgement.stored_count,
                        total_stored_count=acknowledgement.total_stored_count,
                        policy_version=policy_version,
                    )

    async def GetDocuments(  # noqa: N802
        self, request: gateway_pb2.GetDocumentsRequest, _context: Context
    ) -> gateway_pb2.GetDocumentsResponse:
        """Read documents by id."""
        lookup = retrieval_pb2.GetDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            document_ids=request.document_ids,
            include_embeddings=request.include_embeddings,
        )
        async with self._call_with_deadline("get") as caller:
            answer = await self._use_cases.documents.get(caller, request.tenant_id, lookup)
        return gateway_pb2.GetDocumentsResponse(
            documents=[row.document for row in answer.rows], policy_version=answer.policy_version
        )

    async def DeleteDocuments(  # noqa: N802
        self, request: gateway_pb2.DeleteDocumentsRequest, _context: Context
    ) -> gateway_pb2.DeleteDocumentsResponse:
        """Delete documents by id."""
        deletion = retrieval_pb2.DeleteDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID, document_ids=request.document_ids
        )
        async with self._call_with_deadline("delete") as caller:
            plan, deleted_count = await self._use_cases.documents.delete(caller, request.tenant_id, deletion)
        return gateway_pb2.DeleteDocumentsResponse(deleted_count=deleted_count, policy_version=plan.policy_version)

    async def ListCollections(  # noqa: N802
        self, request: gateway_pb2.ListCollectionsRequest, _context: Context
    ) -> gateway_pb2.ListCollectionsResponse:
        """List a tenant's collections."""
        async with self._call_with_deadline("list") as caller:
            plan, collections = await self._use_cases.documents.list_collections(caller, request.tenant_id)
        return gateway_pb2.ListCollectionsResponse(collections=collections, policy_version=plan.policy_version)

    async def ListLabels(  # noqa: N802
        self, request: gateway_pb2.ListLabelsRequest, _context: Context
    ) -> gateway_pb2.ListLabelsResponse:
        """List a page of a tenant's labels."""
        wanted = retrieval_pb2.ListLabelsRequest(page_size=request.page_size, page_token=request.page_token)
        async with self._call_with_deadline("list") as caller:
            plan, page = await self._use_cases.documents.list_labels(caller, request.tenant_id, wanted)
        return gateway_pb2.ListLabelsResponse(
            labels=page.labels, next_page_token=page.next_page_token, policy_version=plan.policy_version
        )

    async def ListDocumentIds(  # noqa: N802
        self, request: gateway_pb2.ListDocumentIdsRequest, _context: Context
    ) -> gateway_pb2.ListDocumentIdsResponse:
        """List a page of the ids of documents that the caller may read."""
        wanted = retrieval_pb2.ListDocumentIdsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        async with self._call_with_deadline("list") as caller:
            plan, page = await self._use_cases.documents.list_document_ids(caller, request.tenant_id, wanted)
        return gateway_pb2.ListDocumentIdsResponse(
            document_ids=page.document_ids, next_page_token=page.next_page_token, policy_version=plan.policy_version
        )

    async def ExportDocuments(  # noqa: N802
        self, request: gateway_pb2.ExportDocumentsRequest, _context: Context
    ) -> gateway_pb2.ExportDocumentsResponse:
        """Read a page of all documents that the caller may read, as they were at one moment."""
        wanted = retrieval_pb2.ExportDocumentsRequest(moment=request.moment, page_token=request.page_token)
        async with self._call_with_deadline("export") as caller:
            page, answer = await self._use_cases.documents.export(caller, request.tenant_id, wanted)
        return gateway_pb2.ExportDocumentsResponse(
            moment=page.moment,
            collection_id=page.collection_id,
            embedding_model=page.embedding_model,
            documents=[row.document for row in answer.rows],
            next_page_token=page.next_page_token,
            policy_version=answer.policy_version,
        )

    async def RereadTenant(  # noqa: N802
        self, request: gateway_pb2.RereadTenantRequest, _context: Context
    ) -> gateway_pb2.RereadTenantResponse:
        """Have a tenant's documents read from the store anew."""
        async with self._call_with_deadline("reread") as caller:
            policy_version = await self._use_cases.documents.reread(caller, request.tenant_id)
        return gateway_pb2.RereadTenantResponse(policy_version=policy_version)

    async def ExplainAccess(  # noqa: N802
        self, request: gateway_pb2.ExplainAccessRequest, _context: Context
    ) -> gateway_pb2.ExplainAccessResponse:
        """Pass the policy service's explanation on."""
        action, label = action_from_proto(request.action), label_from_proto(request.label)
        async with self._call_with_deadline() as caller:
            explanation = await self._use_cases.policy.explain(caller, request.tenant_id, action, label)
        return gateway_pb2.ExplainAccessResponse(explanation=explanation)

    async def CountViolations(  # noqa: N802
        self, request: gateway_pb2.CountViolationsRequest, _context: Context
    ) -> gateway_pb2.CountViolationsResponse:
        """Pass the policy service's counts on."""
        question = policy_pb2.CountViolationsRequest(
            tenant_id=request.tenant_id,
            violation_types=request.violation_types,
            start_time=request.start_time if request.HasField("start_time") else None,
            end_time=request.end_time if request.HasField("end_time") else None,
        )
        async with self._call_with_deadline() as caller:
            counts = await self._use_cases.policy.count_violations(caller, question)
        return gateway_pb2.CountViolationsResponse(counts=counts)

    async def GetPolicyStatus(  # noqa: N802
        self, request: gateway_pb2.GetPolicyStatusRequest, _context: Context
    ) -> gateway_pb2.GetPolicyStatusResponse:
        """Pass on what the policy service says of its policies."""
        async with self._call_with_deadline() as caller:
            status = await self._use_cases.policy.status(caller, request.tenant_id)
        return gateway_pb2.GetPolicyStatusResponse(status=status)

    async def ListViolations(  # noqa: N802
        self, request: gateway_pb2.ListViolationsRequest, _context: Context
    ) -> gateway_pb2.ListViolationsResponse:
        """Pass the policy service's listing on."""
        question = policy_pb2.ListViolationsRequest(
            tenant_id=request.tenant_id,
            violation_types=request.violation_types,
            start_time=request.start_time if request.HasField("start_time") else None,
            end_time=request.end_time if request.HasField("end_time") else None,
            page_size=request.page_size,
            page_token=request.page_token,
            newest_first=request.newest_first,
        )
        async with self._call_with_deadline() as caller:
            listing = await self._use_cases.policy.list_violations(caller, question)
        return gateway_pb2.ListViolationsResponse(listing=listing)

    def _call_with_deadline(self, operation: str = "") -> "_CallWithDeadline":
        """The caller of a unary call, which its own deadline bounds or the default one; the chassis reports what is
        late. `operation` is what retrieval is asked for, if it is."""
        remaining = time_remaining()
        seconds = self._default_deadline_seconds if remaining is None else remaining
        return _CallWithDeadline(current_token(), seconds, operation, self._metrics)


class _CallWithDeadline:
    """A caller for as long as a unary call may take; written out, for context managers made of generators cost 20 µs a
    call."""

    __slots__ = ("_caller", "_metrics", "_operation", "_timeout")

    def __init__(self, token: str, seconds: float, operation: str, metrics: GatewayMetrics) -> None:
        self._operation = operation
        self._metrics = metrics
        self._caller = CallContext(token, Deadline.after(seconds))
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> CallContext:
        await self._timeout.__aenter__()
        return self._caller

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _add_retry_advice(error)
        if isinstance(error, CircuitOpen):
            self._metrics.retrieval_skipped(self._operation)
        await self._timeout.__aexit__(kind, error, traceback)
        if isinstance(error, PolicyTimedOut) and self._caller.deadline.remaining() < _NO_TIME_SECONDS:
            # The policy service is not to blame for a call that had no time for it.
            raise DeadlineExceeded("the deadline passed before the answer was ready", detail=error.detail) from error


@contextmanager
def _retry_advice(metrics: GatewayMetrics) -> Iterator[None]:
    """Says when to come back where a peer is out of reach and has not said so itself; counts how the import ended."""
    try:
        yield
    except (PolicyUnavailable, RetrievalUnavailable) as error:
        _add_retry_advice(error)
        if isinstance(error, RetrievalUnavailable):
            metrics.retrieval_failed("import", error.reason)
        raise
    metrics.retrieval_answered("import")


def _add_retry_advice(error: BaseException | None) -> None:
    if isinstance(error, PolicyUnavailable | RetrievalUnavailable) and error.retry_after is None:
        error.retry_after = _RETRY_AFTER_SECONDS


def batch_of(request: gateway_pb2.ImportDocumentsRequest) -> Batch:
    """The batch; takes 20 ms for a thousand labels.

    Raises:
        InvalidRequest: if an attribute of a label is of a kind that rules cannot use.
    """
    places: dict[Label, int] = {}
    label_of = [
        places.setdefault(
            Label(
                tenant_id=request.tenant_id,
                sensitivity=sensitivity_from_proto(document.sensitivity),
                topics=frozenset(document.topics),
                attributes=attributes_from_proto(document.attributes, f"documents[{position}].attributes"),
            ),
            len(places),
        )
        for position, document in enumerate(request.documents)
    ]
    return Batch(
        tenant_id=request.tenant_id,
        to_store=retrieval_pb2.ImportDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            embedding_model=request.embedding_model,
            documents=request.documents,
        ),
        labels=[label_to_proto(label) for label in places],
        label_of=label_of,
    )


def search_response(answer: Answer, request_id: str) -> gateway_pb2.SearchDocumentsResponse:
    is_real = answer.mock_reason is None
    provenance = document_pb2.PROVENANCE_REAL if is_real else document_pb2.PROVENANCE_MOCK
    response = gateway_pb2.SearchDocumentsResponse(
        provenance=provenance,
        mock_reason=_NUMBER_OF_MOCK_REASON[answer.mock_reason],
        metric=document_pb2.SIMILARITY_METRIC_COSINE,
        policy_version=answer.policy_version,
        request_id=request_id,
        strategy=answer.strategy,
    )
    for row in answer.rows:
        # Filled in where it stands: a message that is put into another one is copied, and once is enough.
        result = response.results.add(score=row.score, provenance=provenance)
        result.document.CopyFrom(row.document)
    return response
