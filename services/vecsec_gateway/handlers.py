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
from vecsec_chassis.calls import current_request_id, current_token, time_remaining
from vecsec_chassis.domain.errors import DeadlineExceeded, PolicyUnavailable, RetrievalUnavailable
from vecsec_chassis.rpc.wire import action_from_proto, label_from_proto
from vecsec_gateway.peers.contract import Batch, Caller, CircuitOpen, PolicyPeer, PolicyTimedOut
from vecsec_gateway.peers.deadline import Deadline
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.use_cases.documents import Documents
from vecsec_gateway.use_cases.import_documents import ImportDocuments
from vecsec_gateway.use_cases.search_documents import SearchDocuments
from vecsec_gateway.wire import (
    batch_of,
    count_question_of,
    deletion_of,
    id_page_of,
    label_page_of,
    list_question_of,
    lookup_of,
    search_of,
    search_response,
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
        async with self._in_time("search") as caller:
            answer = await self._use_cases.search(
                caller, request.tenant_id, search_of(request), mock_allowed=mock_allowed
            )
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
        async with self._in_time("get") as caller:
            answer = await self._use_cases.documents.get(caller, request.tenant_id, lookup_of(request))
        return gateway_pb2.GetDocumentsResponse(
            documents=[row.document for row in answer.rows], policy_version=answer.policy_version
        )

    async def DeleteDocuments(  # noqa: N802
        self, request: gateway_pb2.DeleteDocumentsRequest, _context: Context
    ) -> gateway_pb2.DeleteDocumentsResponse:
        """Delete documents by id."""
        async with self._in_time("delete") as caller:
            deleted = await self._use_cases.documents.delete(caller, request.tenant_id, deletion_of(request))
        return gateway_pb2.DeleteDocumentsResponse(deleted_count=deleted.result, policy_version=deleted.policy_version)

    async def ListCollections(  # noqa: N802
        self, request: gateway_pb2.ListCollectionsRequest, _context: Context
    ) -> gateway_pb2.ListCollectionsResponse:
        """List a tenant's collections."""
        async with self._in_time("list") as caller:
            listed = await self._use_cases.documents.list_collections(caller, request.tenant_id)
        return gateway_pb2.ListCollectionsResponse(collections=listed.result, policy_version=listed.policy_version)

    async def ListLabels(  # noqa: N802
        self, request: gateway_pb2.ListLabelsRequest, _context: Context
    ) -> gateway_pb2.ListLabelsResponse:
        """List a page of a tenant's labels."""
        async with self._in_time("list") as caller:
            listed = await self._use_cases.documents.list_labels(caller, request.tenant_id, label_page_of(request))
        page = listed.result
        return gateway_pb2.ListLabelsResponse(
            labels=page.labels, next_page_token=page.next_page_token, policy_version=listed.policy_version
        )

    async def ListDocumentIds(  # noqa: N802
        self, request: gateway_pb2.ListDocumentIdsRequest, _context: Context
    ) -> gateway_pb2.ListDocumentIdsResponse:
        """List a page of the ids of documents that the caller may read."""
        async with self._in_time("list") as caller:
            listed = await self._use_cases.documents.list_document_ids(caller, request.tenant_id, id_page_of(request))
        page = listed.result
        return gateway_pb2.ListDocumentIdsResponse(
            document_ids=page.document_ids, next_page_token=page.next_page_token, policy_version=listed.policy_version
        )

    async def RereadTenant(  # noqa: N802
        self, request: gateway_pb2.RereadTenantRequest, _context: Context
    ) -> gateway_pb2.RereadTenantResponse:
        """Have a tenant's documents read from the store anew."""
        async with self._in_time("reread") as caller:
            policy_version = await self._use_cases.documents.reread(caller, request.tenant_id)
        return gateway_pb2.RereadTenantResponse(policy_version=policy_version)

    async def ExplainAccess(  # noqa: N802
        self, request: gateway_pb2.ExplainAccessRequest, _context: Context
    ) -> gateway_pb2.ExplainAccessResponse:
        """Pass the policy service's explanation on."""
        action, label = action_from_proto(request.action), label_from_proto(request.label)
        async with self._in_time() as caller:
            explanation = await self._use_cases.policy.explain(caller, request.tenant_id, action, label)
        return gateway_pb2.ExplainAccessResponse(explanation=explanation)

    async def CountViolations(  # noqa: N802
        self, request: gateway_pb2.CountViolationsRequest, _context: Context
    ) -> gateway_pb2.CountViolationsResponse:
        """Pass the policy service's counts on."""
        async with self._in_time() as caller:
            counts = await self._use_cases.policy.count_violations(caller, count_question_of(request))
        return gateway_pb2.CountViolationsResponse(counts=counts)

    async def GetPolicyStatus(  # noqa: N802
        self, request: gateway_pb2.GetPolicyStatusRequest, _context: Context
    ) -> gateway_pb2.GetPolicyStatusResponse:
        """Pass on what the policy service says of its policies."""
        async with self._in_time() as caller:
            status = await self._use_cases.policy.status(caller, request.tenant_id)
        return gateway_pb2.GetPolicyStatusResponse(status=status)

    async def ListViolations(  # noqa: N802
        self, request: gateway_pb2.ListViolationsRequest, _context: Context
    ) -> gateway_pb2.ListViolationsResponse:
        """Pass the policy service's listing on."""
        async with self._in_time() as caller:
            listing = await self._use_cases.policy.list_violations(caller, list_question_of(request))
        return gateway_pb2.ListViolationsResponse(listing=listing)

    def _in_time(self, operation: str = "") -> "_InTime":
        """The caller of a unary call, which its own deadline bounds or the default one; the chassis reports what is
        late. `operation` is what retrieval is asked for, if it is."""
        remaining = time_remaining()
        seconds = self._default_deadline_seconds if remaining is None else remaining
        return _InTime(current_token(), seconds, operation, self._metrics)


class _InTime:
    """A caller for as long as a unary call may take; written out, for context managers made of generators cost 20 µs a
    call."""

    __slots__ = ("_caller", "_metrics", "_operation", "_timeout")

    def __init__(self, token: str, seconds: float, operation: str, metrics: GatewayMetrics) -> None:
        self._operation = operation
        self._metrics = metrics
        self._caller = Caller(token, Deadline.after(seconds))
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> Caller:
        await self._timeout.__aenter__()
        return self._caller

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _advise(error)
        if isinstance(error, CircuitOpen):
            self._metrics.retrieval_left_alone(self._operation)
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
        _advise(error)
        if isinstance(error, RetrievalUnavailable):
            metrics.import_failed(error.reason)
        raise
    metrics.import_answered()


def _advise(error: BaseException | None) -> None:
    if isinstance(error, PolicyUnavailable | RetrievalUnavailable) and error.retry_after is None:
        error.retry_after = _RETRY_AFTER_SECONDS
