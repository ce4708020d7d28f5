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
from vecsec.type.v1 import batch_pb2, document_pb2, filter_pb2, query_pb2
from vecsec_chassis.calls import current_request_id, current_token, time_remaining
from vecsec_chassis.domain.errors import DeadlineExceeded, InvalidRequest, PolicyUnavailable, RetrievalUnavailable
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.rpc.wire import (
    action_from_proto,
    label_from_proto,
    label_to_proto,
    metric_to_proto,
    new_attributes,
    search_mode_to_proto,
    sensitivity_from_proto,
    tenant_limits_to_proto,
)
from vecsec_gateway.limits import cost
from vecsec_gateway.limits.gatekeeper import Gatekeeper
from vecsec_gateway.peers.call import Deadline
from vecsec_gateway.peers.contract import (
    Answer,
    Batch,
    CallContext,
    CircuitOpen,
    MockReason,
    PolicyTimedOut,
    QueryOutcome,
    Row,
)
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.use_cases.documents import DocumentAccess
from vecsec_gateway.use_cases.import_documents import ImportDocuments
from vecsec_gateway.use_cases.relabel_documents import RelabelDocuments
from vecsec_gateway.use_cases.search_documents import SearchDocuments
from vecsec_gateway.use_cases.tenant_usage import UsageReader

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

_HasFilter: TypeAlias = (
    gateway_pb2.SearchDocumentsRequest
    | gateway_pb2.GetDocumentsRequest
    | gateway_pb2.ListDocumentIdsRequest
    | gateway_pb2.DeleteDocumentsRequest
    | gateway_pb2.RelabelDocumentsRequest
)

_RETRY_AFTER_SECONDS = 1.0
"""Advice to callers where a peer is out of reach and has given none."""
_NO_TIME_SECONDS = 0.01
"""Timers run out a little early; with less than this left, a call's time is over."""
_TURN_SHARE, _LONGEST_TURN_SECONDS = 0.25, 1.0
"""So much of its time a call waits for its turn among the dear ones of its tenant; what is left is for the answer."""
_FIRST_BATCH_SECONDS = 10.0
_MOST_BATCH_ROWS = 1_000
"""As many as the policy service checks at once."""
_ROWS_AT_ONCE = 50
"""A quarter of a millisecond."""
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
    relabel: RelabelDocuments
    store: ImportDocuments
    policy: PolicyClient
    usage: UsageReader


class GatewayHandlers(GatewayServiceServicer):
    """The gateway service. Identity, request id and deadline come from the chassis' interceptors."""

    def __init__(
        self,
        use_cases: UseCases,
        metrics: GatewayMetrics,
        gate: Gatekeeper,
        *,
        default_deadline_seconds: float,
        mock_by_default: bool,
    ) -> None:
        """`mock_by_default`: whether searches that do not say so themselves may be answered with made-up rows."""
        self._use_cases = use_cases
        self.metrics = metrics
        self.gate = gate
        self._default_deadline_seconds = default_deadline_seconds
        self._mock_allowed = {
            gateway_pb2.FALLBACK_UNSPECIFIED: mock_by_default,
            gateway_pb2.FALLBACK_MOCK: True,
            gateway_pb2.FALLBACK_NONE: False,
        }

    async def SearchDocuments(  # noqa: N802
        self, request: gateway_pb2.SearchDocumentsRequest, _context: Context
    ) -> gateway_pb2.SearchDocumentsResponse:
        """Find the nearest documents among those the caller may read."""
        mock_allowed = self._mock_allowed.get(request.fallback, False)
        search = retrieval_pb2.SearchDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            query=request.query,
            filter=filter_of(request),
            k=request.k,
            include_embeddings=request.include_embeddings,
            mode=request.mode,
            min_score=request.min_score if request.HasField("min_score") else None,
            offset=request.offset,
            distinct_texts=request.distinct_texts,
        )
        units = cost.whole_search_cost(search, embeddings=request.include_embeddings)
        async with self._call_with_deadline(units, "search") as caller:
            answer = await self._use_cases.search(caller, request.tenant_id, search, mock_allowed=mock_allowed)
        return await search_response(answer, current_request_id())

    async def SearchDocumentsBatch(  # noqa: N802
        self, request: gateway_pb2.SearchDocumentsBatchRequest, _context: Context
    ) -> gateway_pb2.SearchDocumentsBatchResponse:
        """Answer several queries at once."""
        mock_allowed = self._mock_allowed.get(request.fallback, False)
        batch = search_batch(request)
        async with self._call_with_deadline(cost.batch_cost(batch), "search") as caller:
            answer = await self._use_cases.search.batch(caller, request.tenant_id, batch, mock_allowed=mock_allowed)
        return await batch_response(answer, current_request_id())

    async def ImportDocuments(  # noqa: N802
        self, requests: AsyncIterator[gateway_pb2.ImportDocumentsRequest], _context: Context
    ) -> AsyncIterator[gateway_pb2.ImportDocumentsResponse]:
        """Store documents batch by batch. The caller's deadline, if any, is for the whole stream."""
        first = await _first_of(requests)  # before, it is no call that others would have to wait for
        if first is None:
            return

        async def batches() -> AsyncIterator[Batch]:
            yield await asyncio.to_thread(batch_of, first)
            async for request in requests:
                # In a thread: a thousand labels take 20 ms.
                yield await asyncio.to_thread(batch_of, request)

        remaining = time_remaining()
        deadline = None if remaining is None else Deadline.after(remaining)
        with self._let_in(cost.PLAIN), _retry_advice(self.metrics):
            async with aclosing(self._use_cases.store(current_token(), batches(), deadline)) as acknowledgements:
                async for acknowledgement, policy_version in acknowledgements:
                    yield gateway_pb2.ImportDocumentsResponse(
                        batch_number=acknowledgement.batch_number,
                        stored_count=acknowledgement.stored_count,
                        total_stored_count=acknowledgement.total_stored_count,
                        whole_sources=acknowledgement.whole_sources,
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
            filter=filter_of(request),
        )
        units = cost.lookup_cost(len(request.document_ids), embeddings=request.include_embeddings)
        async with self._call_with_deadline(units, "get") as caller:
            answer = await self._use_cases.documents.get(caller, request.tenant_id, lookup)
        return gateway_pb2.GetDocumentsResponse(
            documents=[row.document for row in answer.rows], policy_version=answer.policy_version
        )

    async def DeleteDocuments(  # noqa: N802
        self, request: gateway_pb2.DeleteDocumentsRequest, _context: Context
    ) -> gateway_pb2.DeleteDocumentsResponse:
        """Delete documents by id, by a filter, or all of a collection."""
        deletion = retrieval_pb2.DeleteDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            document_ids=request.document_ids,
            filter=filter_of(request),
            whole_collection=request.whole_collection,
            dry_run=request.dry_run,
            dry_run_ids=request.dry_run_ids,
        )
        ids = len(request.document_ids) + len(request.dry_run_ids)
        units = cost.lookup_cost(ids) if ids else cost.SELECTION
        async with self._call_with_deadline(units, "delete") as caller:
            plan, deleted_count = await self._use_cases.documents.delete(caller, request.tenant_id, deletion)
        return gateway_pb2.DeleteDocumentsResponse(deleted_count=deleted_count, policy_version=plan.policy_version)

    async def RelabelDocuments(  # noqa: N802
        self, request: gateway_pb2.RelabelDocumentsRequest, _context: Context
    ) -> gateway_pb2.RelabelDocumentsResponse:
        """Change the labels of documents."""
        wanted = retrieval_pb2.RelabelDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            document_ids=request.document_ids,
            filter=filter_of(request),
            whole_collection=request.whole_collection,
            change=request.change,
            dry_run=request.dry_run,
        )
        async with self._call_with_deadline(cost.SELECTION, "relabel") as caller:
            policy_version, count = await self._use_cases.relabel(caller, request.tenant_id, wanted)
        return gateway_pb2.RelabelDocumentsResponse(relabelled_count=count, policy_version=policy_version)

    async def ListCollections(  # noqa: N802
        self, request: gateway_pb2.ListCollectionsRequest, _context: Context
    ) -> gateway_pb2.ListCollectionsResponse:
        """List a tenant's collections."""
        async with self._call_with_deadline(cost.COLLECTIONS, "list") as caller:
            plan, collections = await self._use_cases.documents.list_collections(caller, request.tenant_id)
        return gateway_pb2.ListCollectionsResponse(collections=collections, policy_version=plan.policy_version)

    async def ListLabels(  # noqa: N802
        self, request: gateway_pb2.ListLabelsRequest, _context: Context
    ) -> gateway_pb2.ListLabelsResponse:
        """List a page of a tenant's labels."""
        wanted = retrieval_pb2.ListLabelsRequest(page_size=request.page_size, page_token=request.page_token)
        async with self._call_with_deadline(cost.listing_cost(request.page_size), "list") as caller:
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
            filter=filter_of(request),
            include_count=request.include_count,
        )
        units = cost.listing_cost(request.page_size, request.filter, count=request.include_count)
        async with self._call_with_deadline(units, "list") as caller:
            plan, page = await self._use_cases.documents.list_document_ids(caller, request.tenant_id, wanted)
        return gateway_pb2.ListDocumentIdsResponse(
            document_ids=page.document_ids,
            next_page_token=page.next_page_token,
            policy_version=plan.policy_version,
            document_count=page.document_count if page.HasField("document_count") else None,
        )

    async def ListSources(  # noqa: N802
        self, request: gateway_pb2.ListSourcesRequest, _context: Context
    ) -> gateway_pb2.ListSourcesResponse:
        """List a page of the sources of documents that the caller may read."""
        wanted = retrieval_pb2.ListSourcesRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        async with self._call_with_deadline(cost.listing_cost(request.page_size, count=True), "list") as caller:
            page, sources, policy_version = await self._use_cases.documents.list_sources(
                caller, request.tenant_id, wanted
            )
        return gateway_pb2.ListSourcesResponse(
            sources=sources, next_page_token=page.next_page_token, policy_version=policy_version
        )

    async def ExportDocuments(  # noqa: N802
        self, request: gateway_pb2.ExportDocumentsRequest, _context: Context
    ) -> gateway_pb2.ExportDocumentsResponse:
        """Read a page of all documents that the caller may read, as they were at one moment."""
        wanted = retrieval_pb2.ExportDocumentsRequest(moment=request.moment, page_token=request.page_token)
        async with self._call_with_deadline(cost.EXPORT_PAGE, "export") as caller:
            page, answer = await self._use_cases.documents.export(caller, request.tenant_id, wanted)
        if not page.next_page_token:
            self.metrics.export_finished()
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
        async with self._call_with_deadline(cost.REREAD, "reread") as caller:
            policy_version = await self._use_cases.documents.reread(caller, request.tenant_id)
        return gateway_pb2.RereadTenantResponse(policy_version=policy_version)

    async def ExplainAccess(  # noqa: N802
        self, request: gateway_pb2.ExplainAccessRequest, _context: Context
    ) -> gateway_pb2.ExplainAccessResponse:
        """Pass the policy service's explanation on."""
        async with self._call_with_deadline(cost.explain_cost(request.ByteSize())) as caller:
            action, label = action_from_proto(request.action), label_from_proto(request.label)
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
        async with self._call_with_deadline(cost.VIOLATIONS) as caller:
            counts = await self._use_cases.policy.count_violations(caller, question)
        return gateway_pb2.CountViolationsResponse(counts=counts)

    async def GetPolicyStatus(  # noqa: N802
        self, request: gateway_pb2.GetPolicyStatusRequest, _context: Context
    ) -> gateway_pb2.GetPolicyStatusResponse:
        """Pass on what the policy service says of its policies."""
        async with self._call_with_deadline(cost.STATUS) as caller:
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
        async with self._call_with_deadline(cost.VIOLATIONS) as caller:
            listing = await self._use_cases.policy.list_violations(caller, question)
        return gateway_pb2.ListViolationsResponse(listing=listing)

    async def ListForeignAccess(  # noqa: N802
        self, request: gateway_pb2.ListForeignAccessRequest, _context: Context
    ) -> gateway_pb2.ListForeignAccessResponse:
        """Pass the policy service's listing on."""
        question = policy_pb2.ListForeignAccessRequest(
            tenant_id=request.tenant_id,
            start_time=request.start_time if request.HasField("start_time") else None,
            end_time=request.end_time if request.HasField("end_time") else None,
            page_size=request.page_size,
            page_token=request.page_token,
            newest_first=request.newest_first,
        )
        async with self._call_with_deadline(cost.VIOLATIONS) as caller:
            listing = await self._use_cases.policy.list_foreign_access(caller, question)
        return gateway_pb2.ListForeignAccessResponse(listing=listing)

    async def GetTenantUsage(  # noqa: N802
        self, request: gateway_pb2.GetTenantUsageRequest, _context: Context
    ) -> gateway_pb2.GetTenantUsageResponse:
        """Say what a tenant uses of what it may."""
        async with self._call_with_deadline(cost.PLAIN, "size") as caller:
            usage = await self._use_cases.usage.read(caller, request.tenant_id)
        return gateway_pb2.GetTenantUsageResponse(
            limits=tenant_limits_to_proto(usage.limits),
            rows=usage.stored.rows,
            bytes=usage.stored.bytes if usage.stored.HasField("bytes") else None,
            searches_per_second=usage.now.searches_per_second,
            concurrent_calls=usage.now.concurrent_calls,
            import_rows_per_second=usage.stored.import_rows_per_second,
            refused_count=usage.now.refused_count,
            gateway_replicas=self.gate.replicas,
            policy_version=usage.policy_version,
        )

    @contextmanager
    def _let_in(self, units: float) -> Iterator[None]:
        """A call for as long as it takes, if it is let in."""
        ticket = self.gate.enter(units)
        try:
            yield
        finally:
            self.gate.leave(ticket)

    def _call_with_deadline(self, units: float, operation: str = "") -> "_CallWithDeadline":
        """The caller of a unary call that costs so many units, which its own deadline bounds or the default one; the
        chassis reports what is late. `operation` is what retrieval is asked for, if it is."""
        remaining = time_remaining()
        seconds = self._default_deadline_seconds if remaining is None else remaining
        return _CallWithDeadline(CallContext(current_token(), Deadline.after(seconds)), operation, self, units)


class _CallWithDeadline:
    """A caller for as long as a unary call may take, if it is let in; written out, for context managers made of
    generators cost 20 µs a call."""

    __slots__ = ("_caller", "_handlers", "_operation", "_ticket", "_timeout", "_units")

    def __init__(self, caller: CallContext, operation: str, handlers: GatewayHandlers, units: float) -> None:
        self._operation = operation
        self._handlers = handlers
        self._caller = caller
        self._units = units
        self._timeout = asyncio.timeout(caller.deadline.remaining())

    async def __aenter__(self) -> CallContext:
        gate = self._handlers.gate
        self._ticket = gate.enter(self._units)
        await self._timeout.__aenter__()
        try:
            share = max(self._caller.deadline.remaining(), 0.0) * _TURN_SHARE
            await gate.turn(self._ticket, min(share, _LONGEST_TURN_SECONDS))
        except BaseException as error:
            gate.leave(self._ticket)
            await self._timeout.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._caller

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handlers.gate.end_turn(self._ticket)
        self._handlers.gate.leave(self._ticket, error)
        _add_retry_advice(error)
        if isinstance(error, CircuitOpen):
            self._handlers.metrics.retrieval_skipped(self._operation)
        await self._timeout.__aexit__(kind, error, traceback)
        if isinstance(error, PolicyTimedOut) and self._caller.deadline.remaining() < _NO_TIME_SECONDS:
            # The policy service is not to blame for a call that had no time for it.
            raise DeadlineExceeded("the deadline passed before the answer was ready", detail=error.detail) from error


async def _first_of(
    requests: AsyncIterator[gateway_pb2.ImportDocumentsRequest],
) -> gateway_pb2.ImportDocumentsRequest | None:
    """The first message of an import; None if it ends without one.

    Raises:
        DeadlineExceeded: if none comes soon.
    """
    try:
        async with asyncio.timeout(_FIRST_BATCH_SECONDS):
            return await anext(requests, None)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the import sent nothing for {_FIRST_BATCH_SECONDS:.0f} seconds; open it when there is a batch"
        ) from error


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


def filter_of(request: _HasFilter) -> filter_pb2.MetadataFilter | None:
    """A request's condition on metadata, if it has one."""
    return request.filter if request.HasField("filter") else None


def batch_of(request: gateway_pb2.ImportDocumentsRequest) -> Batch:
    """The batch; takes 20 ms for a thousand labels.

    Raises:
        InvalidRequest: if an attribute of a label is of a kind that rules cannot use, or a reader is nobody.
    """
    places: dict[Label, int] = {}
    label_of = [
        places.setdefault(
            Label(
                tenant_id=request.tenant_id,
                sensitivity=sensitivity_from_proto(document.sensitivity),
                topics=frozenset(document.topics),
                attributes=new_attributes(document, f"documents[{position}]"),
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
            whole_sources=request.whole_sources,
        ),
        labels=[label_to_proto(label) for label in places],
        label_of=label_of,
    )


def _fill_row(result: document_pb2.ScoredDocument, row: Row) -> None:
    """The document, and what retrieval says of what its score is made. They are filled in where they stand: a message
    that is put into another one is copied, and once is enough."""
    result.document.CopyFrom(row.document)
    if row.parts is not None:
        for name in ("vector_score", "text_score", "vector_rank", "text_rank"):
            if row.parts.HasField(name):
                setattr(result, name, getattr(row.parts, name))


def search_batch(request: gateway_pb2.SearchDocumentsBatchRequest) -> retrieval_pb2.SearchDocumentsBatchRequest:
    """What retrieval is asked for a batch.

    Raises:
        InvalidRequest: if it asks for more rows than can be checked at once.
    """
    rows = sum(query.offset + query.k for query in request.queries)
    if rows > _MOST_BATCH_ROWS:
        raise InvalidRequest.of(
            "queries", f"ask for {rows:,} rows, with offsets; a batch may ask for {_MOST_BATCH_ROWS:,}"
        )
    batch = retrieval_pb2.SearchDocumentsBatchRequest(
        queries=request.queries, include_embeddings=request.include_embeddings
    )
    for query in batch.queries:
        query.collection_id = query.collection_id or DEFAULT_COLLECTION_ID
    return batch


async def batch_response(answer: Answer, request_id: str) -> gateway_pb2.SearchDocumentsBatchResponse:
    """The answer to a batch; see `search_response`."""
    provenance = _provenance_of(answer)
    response = gateway_pb2.SearchDocumentsBatchResponse(
        results=list(map(_batch_result, answer.queries)),
        provenance=provenance,
        mock_reason=_NUMBER_OF_MOCK_REASON[answer.mock_reason],
        policy_version=answer.policy_version,
        request_id=request_id,
    )
    for number, row in enumerate(answer.rows, 1):
        _fill_row(response.results[row.query].results.add(score=row.score, provenance=provenance), row)
        if number % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return response


def _batch_result(query: QueryOutcome) -> batch_pb2.BatchResult:
    if query.error is not None:
        return batch_pb2.BatchResult(error=query.error)
    return batch_pb2.BatchResult(
        strategy=query.strategy,
        mode=query_pb2.SEARCH_MODE_UNSPECIFIED if query.mode is None else search_mode_to_proto(query.mode),
        metric=metric_to_proto(query.mode or SearchMode.VECTOR),
    )


def _provenance_of(answer: Answer) -> document_pb2.Provenance.ValueType:
    return document_pb2.PROVENANCE_REAL if answer.mock_reason is None else document_pb2.PROVENANCE_MOCK


async def search_response(answer: Answer, request_id: str) -> gateway_pb2.SearchDocumentsResponse:
    """The answer; while a long one is made, others get their turn."""
    provenance = _provenance_of(answer)
    response = gateway_pb2.SearchDocumentsResponse(
        provenance=provenance,
        mock_reason=_NUMBER_OF_MOCK_REASON[answer.mock_reason],
        metric=metric_to_proto(answer.mode or SearchMode.VECTOR),
        policy_version=answer.policy_version,
        request_id=request_id,
        strategy=answer.strategy,
        mode=query_pb2.SEARCH_MODE_UNSPECIFIED if answer.mode is None else search_mode_to_proto(answer.mode),
    )
    for number, row in enumerate(answer.rows, 1):
        _fill_row(response.results.add(score=row.score, provenance=provenance), row)
        if number % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return response
