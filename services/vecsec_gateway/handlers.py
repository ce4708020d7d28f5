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
from vecsec.type.v1 import collection_pb2
from vecsec_chassis.calls import current_request_id, time_remaining
from vecsec_chassis.errors import DeadlineExceeded, PolicyUnavailable, RetrievalUnavailable
from vecsec_chassis.wire import action_from_proto, label_from_proto
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.documents import Documents
from vecsec_gateway.importing import ImportDocuments
from vecsec_gateway.metrics import GatewayMetrics
from vecsec_gateway.peer_failures import CircuitOpen, PolicyTimedOut
from vecsec_gateway.peers import Batch, IdPageRequest, LabelPageRequest, PolicyPeer
from vecsec_gateway.search import SearchDocuments
from vecsec_gateway.wire import (
    batch_from_proto,
    collection_id_of,
    count_question_from_proto,
    document_to_proto,
    list_question_from_proto,
    lookup_from_proto,
    search_answer_to_proto,
    search_from_proto,
)

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

_RETRY_AFTER_SECONDS = 1.0
"""Advice to callers where a peer is out of reach and has given none."""
_NO_TIME_SECONDS = 0.01
"""Timers run out a little early; with less than this left, a call's time is over."""


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the handlers hand over to."""

    search: SearchDocuments
    documents: Documents
    store: ImportDocuments
    policy: PolicyPeer


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
        async with self._in_time("search") as deadline:
            answer = await self._use_cases.search(
                search_from_proto(request), mock_allowed=mock_allowed, deadline=deadline
            )
        return search_answer_to_proto(answer, current_request_id())

    async def ImportDocuments(  # noqa: N802
        self, requests: AsyncIterator[gateway_pb2.ImportDocumentsRequest], _context: Context
    ) -> AsyncIterator[gateway_pb2.ImportDocumentsResponse]:
        """Store documents batch by batch. The caller's deadline, if any, is for the whole stream."""

        async def batches() -> AsyncIterator[Batch]:
            async for request in requests:
                # In a thread: a thousand labels take 20 ms.
                yield await asyncio.to_thread(batch_from_proto, request)

        with _retry_advice(self._metrics):
            async with aclosing(self._use_cases.store(batches())) as acknowledgements:
                async for acknowledgement in acknowledgements:
                    yield gateway_pb2.ImportDocumentsResponse(
                        batch_number=acknowledgement.batch_number,
                        stored_count=acknowledgement.stored_count,
                        total_stored_count=acknowledgement.total_stored_count,
                        policy_version=acknowledgement.policy_version,
                    )

    async def GetDocuments(  # noqa: N802
        self, request: gateway_pb2.GetDocumentsRequest, _context: Context
    ) -> gateway_pb2.GetDocumentsResponse:
        """Read documents by id."""
        lookup = lookup_from_proto(request, include_embeddings=request.include_embeddings)
        async with self._in_time("get") as deadline:
            checked = await self._use_cases.documents.get(lookup, deadline)
        return gateway_pb2.GetDocumentsResponse(
            documents=[document_to_proto(row) for row in checked.rows], policy_version=checked.policy_version
        )

    async def DeleteDocuments(  # noqa: N802
        self, request: gateway_pb2.DeleteDocumentsRequest, _context: Context
    ) -> gateway_pb2.DeleteDocumentsResponse:
        """Delete documents by id."""
        async with self._in_time("delete") as deadline:
            deleted = await self._use_cases.documents.delete(lookup_from_proto(request), deadline)
        return gateway_pb2.DeleteDocumentsResponse(deleted_count=deleted.result, policy_version=deleted.policy_version)

    async def ListCollections(  # noqa: N802
        self, request: gateway_pb2.ListCollectionsRequest, _context: Context
    ) -> gateway_pb2.ListCollectionsResponse:
        """List a tenant's collections."""
        async with self._in_time("list") as deadline:
            listed = await self._use_cases.documents.list_collections(request.tenant_id, deadline)
        response = gateway_pb2.ListCollectionsResponse(policy_version=listed.policy_version)
        for collection in listed.result:
            assert isinstance(collection, collection_pb2.Collection), "passed on as retrieval sent it"
            response.collections.append(collection)
        return response

    async def ListLabels(  # noqa: N802
        self, request: gateway_pb2.ListLabelsRequest, _context: Context
    ) -> gateway_pb2.ListLabelsResponse:
        """List a page of a tenant's labels."""
        wanted = LabelPageRequest(request.tenant_id, request.page_size, request.page_token)
        async with self._in_time("list") as deadline:
            listed = await self._use_cases.documents.list_labels(wanted, deadline)
        page = listed.result
        assert isinstance(page, retrieval_pb2.ListLabelsResponse), "passed on as retrieval sent it"
        return gateway_pb2.ListLabelsResponse(
            labels=page.labels, next_page_token=page.next_page_token, policy_version=listed.policy_version
        )

    async def ListDocumentIds(  # noqa: N802
        self, request: gateway_pb2.ListDocumentIdsRequest, _context: Context
    ) -> gateway_pb2.ListDocumentIdsResponse:
        """List a page of the ids of documents that the caller may read."""
        wanted = IdPageRequest(request.tenant_id, collection_id_of(request), request.page_size, request.page_token)
        async with self._in_time("list") as deadline:
            listed = await self._use_cases.documents.list_document_ids(wanted, deadline)
        page = listed.result
        assert isinstance(page, retrieval_pb2.ListDocumentIdsResponse), "passed on as retrieval sent it"
        return gateway_pb2.ListDocumentIdsResponse(
            document_ids=page.document_ids, next_page_token=page.next_page_token, policy_version=listed.policy_version
        )

    async def RereadTenant(  # noqa: N802
        self, request: gateway_pb2.RereadTenantRequest, _context: Context
    ) -> gateway_pb2.RereadTenantResponse:
        """Have a tenant's documents read from the store anew."""
        async with self._in_time("reread") as deadline:
            policy_version = await self._use_cases.documents.reread(request.tenant_id, deadline)
        return gateway_pb2.RereadTenantResponse(policy_version=policy_version)

    async def ExplainAccess(  # noqa: N802
        self, request: gateway_pb2.ExplainAccessRequest, _context: Context
    ) -> gateway_pb2.ExplainAccessResponse:
        """Pass the policy service's explanation on."""
        action, label = action_from_proto(request.action), label_from_proto(request.label)
        async with self._in_time() as deadline:
            explanation = await self._use_cases.policy.explain(request.tenant_id, action, label, deadline)
        assert isinstance(explanation, policy_pb2.ExplainAccessResponse), "passed on as the policy service sent it"
        return gateway_pb2.ExplainAccessResponse(explanation=explanation)

    async def CountViolations(  # noqa: N802
        self, request: gateway_pb2.CountViolationsRequest, _context: Context
    ) -> gateway_pb2.CountViolationsResponse:
        """Pass the policy service's counts on."""
        question = count_question_from_proto(request)
        async with self._in_time() as deadline:
            counts = await self._use_cases.policy.count_violations(question, deadline)
        assert isinstance(counts, policy_pb2.CountViolationsResponse), "passed on as the policy service sent it"
        return gateway_pb2.CountViolationsResponse(counts=counts)

    async def GetPolicyStatus(  # noqa: N802
        self, request: gateway_pb2.GetPolicyStatusRequest, _context: Context
    ) -> gateway_pb2.GetPolicyStatusResponse:
        """Pass on what the policy service says of its policies."""
        async with self._in_time() as deadline:
            status = await self._use_cases.policy.status(request.tenant_id, deadline)
        assert isinstance(status, policy_pb2.GetPolicyStatusResponse), "passed on as the policy service sent it"
        return gateway_pb2.GetPolicyStatusResponse(status=status)

    async def ListViolations(  # noqa: N802
        self, request: gateway_pb2.ListViolationsRequest, _context: Context
    ) -> gateway_pb2.ListViolationsResponse:
        """Pass the policy service's listing on."""
        question = list_question_from_proto(request)
        async with self._in_time() as deadline:
            listing = await self._use_cases.policy.list_violations(question, deadline)
        assert isinstance(listing, policy_pb2.ListViolationsResponse), "passed on as the policy service sent it"
        return gateway_pb2.ListViolationsResponse(listing=listing)

    def _in_time(self, operation: str = "") -> "_InTime":
        """Bounds a unary call by its caller's deadline or by the default one; the chassis reports what is late.

        `operation` is what retrieval is asked for, if it is.
        """
        remaining = time_remaining()
        return _InTime(self._default_deadline_seconds if remaining is None else remaining, operation, self._metrics)


class _InTime:
    """The time that a unary call may take; written out, for context managers made of generators cost 20 µs a call."""

    __slots__ = ("_deadline", "_metrics", "_operation", "_timeout")

    def __init__(self, seconds: float, operation: str, metrics: GatewayMetrics) -> None:
        self._operation = operation
        self._metrics = metrics
        self._deadline = Deadline.after(seconds)
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> Deadline:
        await self._timeout.__aenter__()
        return self._deadline

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _advise(error)
        if isinstance(error, CircuitOpen):
            self._metrics.retrieval_left_alone(self._operation)
        await self._timeout.__aexit__(kind, error, traceback)
        if isinstance(error, PolicyTimedOut) and self._deadline.remaining() < _NO_TIME_SECONDS:
            # The policy service is not to blame for a call that had no time for it.
            raise DeadlineExceeded("the deadline passed before the answer was ready", detail=error.detail) from error


@contextmanager
def _retry_advice(metrics: GatewayMetrics) -> Iterator[None]:
    """Says when to come back where a peer is out of reach and has not said so itself; counts how the import ended."""
    try:
        yield
    except (PolicyUnavailable, RetrievalUnavailable) as error:
        _advise(error)
        if isinstance(error, RetrievalUnavailable):
            metrics.import_failed(error.reason)
        raise
    metrics.import_answered()


def _advise(error: BaseException | None) -> None:
    if isinstance(error, PolicyUnavailable | RetrievalUnavailable) and error.retry_after is None:
        error.retry_after = _RETRY_AFTER_SECONDS
