"""The retrieval service over gRPC: at the shard that has the tenant, with retries within a budget, behind circuit
breakers for each shard and each tenant.

It gets the grant and nothing else that says who calls. Every unary call may be repeated: deleting twice deletes once.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple, TypeAlias, TypeVar

import grpc
from opentelemetry.trace import Tracer

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc as retrieval_grpc
from vecsec.type.v1 import batch_pb2, document_pb2, error_reason_pb2
from vecsec_chassis.calls import queued_seconds
from vecsec_chassis.domain.errors import (
    CollectionNotFound,
    LimitExceeded,
    Reason,
    RetrievalUnavailable,
    VecSecError,
    WrongShard,
)
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.rpc.wire import search_mode_from_proto
from vecsec_gateway.peers.call import Deadline, Response, RetryBudget, RetryRules, call_unary, retried, traced
from vecsec_gateway.peers.circuit_breaker import AttemptOutcome
from vecsec_gateway.peers.contract import (
    Answer,
    BatchStored,
    BatchToStore,
    BusyHere,
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
    QueryOutcome,
    Relabelled,
    Relabelling,
    RetrievalGone,
    RetrievalTimedOut,
    Row,
    ScoredDocument,
    Search,
    SearchBatch,
    SourcePage,
    SourcePageRequest,
    StoredSize,
)
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.peers.shard_peer import ShardPeer
from vecsec_gateway.peers.shards import Shards
from vecsec_gateway.peers.status import is_answer_lost, retrieval_error
from vecsec_gateway.peers.upload import Upload

_Stub: TypeAlias = "retrieval_grpc.RetrievalServiceAsyncStub"
_SERVICE = "vecsec.retrieval.v1.RetrievalService"
_OPERATIONS = {
    "SearchDocuments": "search",
    "SearchDocumentsBatch": "search",
    "GetDocuments": "get",
    "DeleteDocuments": "delete",
    "RelabelDocuments": "relabel",
    "ListCollections": "list",
    "ListLabels": "list",
    "ListDocumentIds": "list",
    "ListSources": "list",
    "ExportDocuments": "export",
    "RereadTenant": "reread",
    "GetStoredSize": "size",
}
"""What metrics call the methods."""
_FAILURES = frozenset({Reason.RETRIEVAL_UNAVAILABLE, Reason.STORE_DAMAGED, Reason.INTERNAL})
"""What counts as a failure of retrieval; everything else is an answer, if not the one that was hoped for."""
PROVENANCES = {
    document_pb2.PROVENANCE_UNSPECIFIED: Provenance.UNKNOWN,
    document_pb2.PROVENANCE_REAL: Provenance.REAL,
    document_pb2.PROVENANCE_MOCK: Provenance.MOCK,
}

_ROWS_AT_ONCE = 50
"""A quarter of a millisecond."""
_SHARE_THAT_COUNTS = 0.2
"""A call that waited here for less than this share of what was left for retrieval would have been late anyway."""

_Granted = TypeVar(
    "_Granted",
    retrieval_pb2.SearchDocumentsRequest,
    retrieval_pb2.SearchDocumentsBatchRequest,
    retrieval_pb2.GetDocumentsRequest,
    retrieval_pb2.DeleteDocumentsRequest,
    retrieval_pb2.RelabelDocumentsRequest,
    retrieval_pb2.ListCollectionsRequest,
    retrieval_pb2.ListLabelsRequest,
    retrieval_pb2.ListDocumentIdsRequest,
    retrieval_pb2.ListSourcesRequest,
    retrieval_pb2.ExportDocumentsRequest,
    retrieval_pb2.RereadTenantRequest,
    retrieval_pb2.GetStoredSizeRequest,
)


class RetrievalClient:
    """The retrieval service, to the use cases. It learns nothing of the caller but the plan's grant.

    Every method raises RetrievalUnavailable where it does not answer in time, and retrieval's own errors as they are.
    """

    def __init__(
        self,
        shards: Shards,
        tracer: Tracer,
        *,
        attempts: int,
        timeout_seconds: float,
        own_delay: OwnDelay,
        metrics: GatewayMetrics,
    ) -> None:
        """`timeout_seconds` is for one try, of which there are at most `attempts`."""
        self._shards = shards
        self._tracer = tracer
        self._budget = RetryBudget(time.monotonic)
        self._timeout_seconds = timeout_seconds
        self._own_delay = own_delay
        self._metrics = metrics
        self._rules = RetryRules(attempts=attempts, may_pass=_is_transient, on_retry=metrics.retrieval_retried)

    async def search(self, plan: Plan, search: Search, deadline: Deadline) -> Answer:
        """The rows that fit best, as many as were asked for at most."""
        response = await self._call("SearchDocuments", lambda stub: stub.SearchDocuments, plan, search, deadline)
        found = (
            FoundDocument(scored.document, scored.score, PROVENANCES.get(scored.provenance, Provenance.UNKNOWN), scored)
            for scored in response.results[: search.k]
        )
        mode = search_mode_from_proto(response.mode)
        if mode is SearchMode.AUTO:
            mode = SearchMode.VECTOR  # a retrieval of an earlier version does not say so, and knows nothing else
        return replace(await found_rows(found), strategy=response.strategy, mode=mode)

    async def search_batch(self, plan: Plan, batch: SearchBatch, deadline: Deadline) -> Answer:
        """The nearest rows of each query, as many as it asked for at most."""
        response = await self._call(
            "SearchDocumentsBatch", lambda stub: stub.SearchDocumentsBatch, plan, batch, deadline
        )
        if len(response.results) != len(batch.queries):
            raise VecSecError(
                "internal error: the batch was not answered",
                detail=f"retrieval gave {len(response.results)} results for {len(batch.queries)} queries",
            )
        found = (
            FoundDocument(
                scored.document,
                scored.score,
                PROVENANCES.get(scored.provenance, Provenance.UNKNOWN),
                scored,
                number,
            )
            for number, (query, result) in enumerate(zip(batch.queries, response.results, strict=True))
            for scored in result.results[: query.k]
        )
        return replace(await found_rows(found), queries=list(map(_outcome, response.results)))

    async def get(self, plan: Plan, lookup: Lookup, deadline: Deadline) -> Answer:
        """Rows by id; their provenance goes without saying, for only searches are ever made up."""
        response = await self._call("GetDocuments", lambda stub: stub.GetDocuments, plan, lookup, deadline)
        return await found_rows(FoundDocument(document, 0.0, Provenance.REAL) for document in response.documents)

    async def delete(self, plan: Plan, deletion: Deletion, deadline: Deadline) -> int:
        """Delete; says how many were deleted. Where an answer was lost and the next try finds no collection any more,
        the first one has deleted what there was."""
        was_lost = False

        def may_pass(error: VecSecError) -> bool:
            nonlocal was_lost
            was_lost = was_lost or is_answer_lost(error)
            return _is_transient(error)

        try:
            response = await self._call(
                "DeleteDocuments",
                lambda stub: stub.DeleteDocuments,
                plan,
                deletion,
                deadline,
                takes_long=not (deletion.document_ids or deletion.dry_run_ids),
                rules=replace(self._rules, may_pass=may_pass),
            )
        except CollectionNotFound:
            if not was_lost or deletion.dry_run:
                raise
            return 0
        return response.deleted_count

    async def relabel(self, plan: Plan, relabelling: Relabelling, deadline: Deadline) -> Relabelled:
        """Change labels; the answer says how many, or which new labels are not checked yet."""
        return await self._call(
            "RelabelDocuments", lambda stub: stub.RelabelDocuments, plan, relabelling, deadline, takes_long=True
        )

    async def list_collections(self, plan: Plan, deadline: Deadline) -> Sequence[Collection]:
        """The tenant's collections that hold documents visible under the grant."""
        request = retrieval_pb2.ListCollectionsRequest()
        response = await self._call("ListCollections", lambda stub: stub.ListCollections, plan, request, deadline)
        return response.collections

    async def list_labels(self, plan: Plan, page: LabelPageRequest, deadline: Deadline) -> LabelPage:
        """A page of the labels that the grant sees."""
        return await self._call("ListLabels", lambda stub: stub.ListLabels, plan, page, deadline)

    async def list_document_ids(self, plan: Plan, page: IdPageRequest, deadline: Deadline) -> IdPage:
        """A page of the ids of documents that the grant sees."""
        return await self._call("ListDocumentIds", lambda stub: stub.ListDocumentIds, plan, page, deadline)

    async def list_sources(self, plan: Plan, page: SourcePageRequest, deadline: Deadline) -> tuple[SourcePage, Answer]:
        """A page of the sources that the grant sees; the page itself, and a row for each label that a source has, with
        the source's place on the page for its id."""
        response = await self._call("ListSources", lambda stub: stub.ListSources, plan, page, deadline)
        rows = (
            FoundDocument(Document(document_id=str(place), label=label), 0.0, Provenance.REAL)
            for place, source in enumerate(response.sources)
            for label in source.labels
        )
        return response, await found_rows(rows)

    async def export(self, plan: Plan, wanted: ExportPageRequest, deadline: Deadline) -> tuple[ExportPage, Answer]:
        """A page of all documents that the grant sees; the page itself, and its rows."""
        response = await self._call("ExportDocuments", lambda stub: stub.ExportDocuments, plan, wanted, deadline)
        return response, await found_rows(
            FoundDocument(document, 0.0, Provenance.REAL) for document in response.documents
        )

    async def reread(self, plan: Plan, deadline: Deadline) -> None:
        """Let the tenant's documents be read from the store anew."""
        request = retrieval_pb2.RereadTenantRequest()
        await self._call("RereadTenant", lambda stub: stub.RereadTenant, plan, request, deadline)

    async def stored_size(self, plan: Plan, deadline: Deadline) -> StoredSize:
        """How much the tenant has stored."""
        request = retrieval_pb2.GetStoredSizeRequest()
        return await self._call("GetStoredSize", lambda stub: stub.GetStoredSize, plan, request, deadline)

    async def store(
        self, tenant_id: str, batches: AsyncIterator[BatchToStore], deadline: Deadline | None
    ) -> AsyncGenerator[BatchStored, None]:
        """Store batches of a tenant as they come; the first bears a grant, and later ones where it is renewed.

        An error of `batches` ends the stream after what was sent before is durable. It is not tried again: what was
        read of a stream is gone. Only where the tenant is at another shard the batches go on there, for the one that
        was refused stored nothing.
        """
        upload, peer = Upload(batches), self._shards.of(tenant_id)
        with traced(self._tracer, f"{_SERVICE}/ImportDocuments") as metadata:
            try:
                while not upload.is_over:
                    timeout = None if deadline is None else deadline.remaining()
                    peer.store.demand_one()
                    call = peer.stub.ImportDocuments(timeout=timeout, metadata=metadata + peer.store.metadata)
                    try:
                        async with aclosing(upload.over(call)) as stored:
                            async for each in stored:
                                yield each
                    except WrongShard as refusal:
                        if not upload.may_begin_anew:
                            raise
                        self._metrics.wrong_shard()
                        peer = await self._shards.owner(tenant_id, refusal)
            finally:
                await upload.close()
        upload.demand_whole()

    async def _call(
        self,
        name: str,
        method_of: "Callable[[_Stub], grpc.aio.UnaryUnaryMultiCallable[_Granted, Response]]",
        plan: Plan,
        request: _Granted,
        deadline: Deadline,
        *,
        takes_long: bool = False,
        rules: RetryRules | None = None,
    ) -> Response:
        request.grant = plan.grant  # the request is made for one call of ours, and done again only with a newer plan
        operation, started = _OPERATIONS[name], time.perf_counter()

        async def ask(peer: ShardPeer) -> Response:
            method = method_of(peer.stub)
            return await self._tried(
                peer,
                name,
                method,
                request,
                tenant_id=plan.tenant_id,
                deadline=deadline,
                takes_long=takes_long,
                rules=rules or self._rules,
            )

        try:
            try:
                response = await ask(self._shards.of(plan.tenant_id))
            except WrongShard as refusal:
                self._metrics.wrong_shard()
                response = await ask(await self._shards.owner(plan.tenant_id, refusal))
        except CircuitOpen:
            raise  # nothing was tried, so nothing failed
        except VecSecError as error:
            if error.reason in _FAILURES:
                self._metrics.retrieval_failed(operation, _metric_reason(error), time.perf_counter() - started)
            raise
        self._metrics.retrieval_answered(operation, time.perf_counter() - started)
        return response

    async def _tried(
        self,
        peer: ShardPeer,
        name: str,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Granted, Response]",
        request: _Granted,
        *,
        tenant_id: str,
        deadline: Deadline,
        takes_long: bool,
        rules: RetryRules,
    ) -> Response:
        """`takes_long`: one try may take all the time that there is, for what it does grows with the collection."""
        circuit = peer.tenant_circuits.of(tenant_id)

        async def once() -> Response:
            peer.store.demand_one()
            remaining = deadline.remaining()
            is_impatient = takes_long or remaining < self._timeout_seconds
            with (
                peer.circuit.attempt(lambda error: _judge_peer(error, hangs=peer.hangs)),
                circuit.attempt(
                    lambda error: _judge(error, is_impatient=is_impatient, is_silent=peer.health.is_silent)
                ),
            ):
                try:
                    return await call_unary(
                        method,
                        f"{_SERVICE}/{name}",
                        request,
                        seconds=remaining if takes_long else min(self._timeout_seconds, remaining),
                        tracer=self._tracer,
                        metadata=peer.store.metadata,
                    )
                except grpc.aio.AioRpcError as error:
                    meaning = retrieval_error(error)
                    if isinstance(meaning, RetrievalTimedOut) and self._was_busy(remaining):
                        raise BusyHere(meaning.detail) from error
                    raise meaning from error

        return await retried(once, rules=rules, deadline=deadline, budget=self._budget)

    def _was_busy(self, seconds: float) -> bool:
        """Whether a try that was given so many seconds ran out of time because of the gateway itself: it was late, or
        the call had to wait here before."""
        is_cut_short = seconds < self._timeout_seconds
        return self._own_delay.is_late or (is_cut_short and queued_seconds() > seconds * _SHARE_THAT_COUNTS)


def _judge(error: BaseException, *, is_impatient: bool, is_silent: bool) -> AttemptOutcome:
    """What the failure of a try says about retrieval for this tenant."""
    if isinstance(error, RetrievalTimedOut):
        # A try that the caller's own deadline cuts short says nothing, unless retrieval is silent anyway: else some
        # impatient callers could open the circuit.
        return AttemptOutcome.UNKNOWN if is_impatient and not is_silent else AttemptOutcome.FAILED
    if isinstance(error, BusyHere):
        return AttemptOutcome.UNKNOWN
    if isinstance(error, RetrievalUnavailable):
        return AttemptOutcome.FAILED
    if isinstance(error, VecSecError):
        return AttemptOutcome.HEALTHY  # it answered, and refused
    return AttemptOutcome.UNKNOWN  # the caller hung up, or the fault is ours


def _judge_peer(error: BaseException, *, hangs: bool) -> AttemptOutcome:
    """What it says about the service, for all its tenants: what is slow may be slow for this one alone."""
    if isinstance(error, RetrievalTimedOut):
        return AttemptOutcome.FAILED if hangs else AttemptOutcome.UNKNOWN
    if isinstance(error, BusyHere | CircuitOpen):
        return AttemptOutcome.UNKNOWN  # nothing was tried, for it is the tenant's own; or the fault is ours
    if isinstance(error, RetrievalGone):
        return AttemptOutcome.FAILED
    return AttemptOutcome.HEALTHY if isinstance(error, VecSecError) else AttemptOutcome.UNKNOWN


class FoundDocument(NamedTuple):
    """A document as retrieval sent it."""

    document: Document
    score: float
    provenance: Provenance
    scored: ScoredDocument | None = None
    """The message that a search has of it."""
    query: int = 0
    """Which query of a batch it answers."""


async def found_rows(found: Iterable[FoundDocument]) -> Answer:
    """Documents as rows; documents with equal labels share one. Of many, others get their turn in between.

    Labels go on to the policy service as they came: it judges them, and whether they can be labels at all.
    """
    rows: list[Row] = []
    labels: list[LabelMessage] = []
    places: dict[bytes, int] = {}
    for document, score, provenance, scored, query in found:
        label = document.label
        key = label.SerializeToString(deterministic=True)
        place = places.get(key)
        if place is None:
            place = places[key] = len(labels)
            labels.append(label)
        rows.append(Row(document.document_id, place, score, provenance, document, scored, query))
        if len(rows) % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return Answer(rows, labels)


def _outcome(result: batch_pb2.BatchResult) -> QueryOutcome:
    mode = search_mode_from_proto(result.mode)
    if not result.HasField("error"):
        return QueryOutcome(result.strategy, mode)
    is_not_found = result.error.reason == error_reason_pb2.ERROR_REASON_COLLECTION_NOT_FOUND
    return QueryOutcome(error=result.error, is_not_found=is_not_found)


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
