"""The retrieval service on the wire: messages to values, values to messages, nothing decided."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeVar

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec.type.v1 import batch_pb2, collection_pb2, document_pb2, label_count_pb2, label_pb2
from vecsec_chassis.domain.errors import DeadlineExceeded
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.rpc import wire
from vecsec_chassis.rpc.error_status import query_error_to_proto
from vecsec_chassis.rpc.interceptors import Context
from vecsec_retrieval.batch_parts import whole_batches
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.model.rows import Document, ScoreParts
from vecsec_retrieval.model.sources import is_of_caller, passage_of
from vecsec_retrieval.request_values import (
    HasFilter,
    batch_queries,
    label_change,
    labels_of,
    metadata_filter,
    search_wanted,
    vector_of,
)
from vecsec_retrieval.search.reader import SearchAnswer
from vecsec_retrieval.source_messages import fill_passage, passage_from_proto, source_message
from vecsec_retrieval.use_cases.deleting import DocumentDeletion
from vecsec_retrieval.use_cases.describe_shard import ShardDescriber
from vecsec_retrieval.use_cases.documents import DocumentAccess
from vecsec_retrieval.use_cases.exporting import DocumentExport
from vecsec_retrieval.use_cases.import_documents import BatchStore, GrantedImport, ImportBatch
from vecsec_retrieval.use_cases.import_rules import NewDocument
from vecsec_retrieval.use_cases.listing import CollectionListing, IdsWanted
from vecsec_retrieval.use_cases.relabelling import Relabelling, RelabelOrder
from vecsec_retrieval.use_cases.search_batch import SearchBatch
from vecsec_retrieval.visibility.permissions import Permissions

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
_FIRST_MESSAGE_SECONDS = 10.0
"""An import that never begins holds a place that others need; how long one may pause is the chassis' to say."""
_INLINE_FILTER_BYTES = 16 * 1024
_DOCUMENTS_AT_ONCE = 25
"""Half a millisecond."""
_HoldsDocuments = TypeVar("_HoldsDocuments", pb.GetDocumentsResponse, pb.ExportDocumentsResponse)


class RetrievalHandlers(retrieval_service_pb2_grpc.RetrievalServiceServicer):
    """Hands each call to its use case."""

    def __init__(
        self,
        *,
        permissions: Permissions,
        batches: BatchStore,
        documents: DocumentAccess,
        batch_search: SearchBatch,
        deletion: DocumentDeletion,
        relabelling: Relabelling,
        listing: CollectionListing,
        export: DocumentExport,
        describer: ShardDescriber,
        max_batch_bytes: int,
    ) -> None:
        self._permissions = permissions
        self._batches = batches
        self._documents = documents
        self._batch_search = batch_search
        self._deletion = deletion
        self._relabelling = relabelling
        self._listing = listing
        self._export = export
        self._describer = describer
        self._max_batch_bytes = max_batch_bytes
        self._told: tuple[Mapping[bytes, int], pb.DescribeShardResponse] = {}, pb.DescribeShardResponse()
        """The cells that another shard was told last, and the message that told them."""

    async def SearchDocuments(  # noqa: N802 (the contract's name)
        self, request: pb.SearchDocumentsRequest, context: Context
    ) -> pb.SearchDocumentsResponse:
        """Find the nearest visible documents."""
        answer = await self._documents.search(
            request.grant,
            request.collection_id or DEFAULT_COLLECTION_ID,
            search_wanted(request, await _filter_of(request)),
            include_embeddings=request.include_embeddings,
        )
        message = pb.SearchDocumentsResponse()
        await _fill_results(message, answer)
        return message

    async def SearchDocumentsBatch(  # noqa: N802
        self, request: pb.SearchDocumentsBatchRequest, context: Context
    ) -> pb.SearchDocumentsBatchResponse:
        """Answer several queries at once."""
        is_small = sum(each.filter.ByteSize() for each in request.queries) <= _INLINE_FILTER_BYTES
        queries = batch_queries(request) if is_small else await asyncio.to_thread(batch_queries, request)
        answers = await self._batch_search.search(request.grant, queries, include_embeddings=request.include_embeddings)
        message = pb.SearchDocumentsBatchResponse()
        for answer in answers:
            if isinstance(answer, SearchAnswer):
                await _fill_results(message.results.add(), answer)
            else:
                message.results.add(error=query_error_to_proto(answer))
        return message

    async def ImportDocuments(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ImportDocumentsRequest], context: Context
    ) -> AsyncIterator[pb.ImportDocumentsResponse]:
        """Store batch after batch, and say of each when it is durable."""
        session = GrantedImport(self._permissions, self._batches)
        batches = whole_batches(_begun_in_time(request_iterator), self._permissions, self._max_batch_bytes)
        async for request in batches:
            # In a thread: to read a thousand vectors out of their message takes 30 ms.
            batch = await asyncio.to_thread(_import_batch, request)
            progress = await session.store(batch)
            yield pb.ImportDocumentsResponse(
                batch_number=progress.batch_number,
                stored_count=progress.stored_count,
                total_stored_count=progress.total_stored_count,
                whole_sources=batch.whole_sources,
            )

    async def GetDocuments(  # noqa: N802
        self, request: pb.GetDocumentsRequest, context: Context
    ) -> pb.GetDocumentsResponse:
        """Read documents by id."""
        documents = await self._documents.get(
            request.grant,
            request.collection_id or DEFAULT_COLLECTION_ID,
            request.document_ids,
            include_embeddings=request.include_embeddings,
            metadata=await _filter_of(request),
        )
        return await get_response(documents)

    async def DeleteDocuments(  # noqa: N802
        self, request: pb.DeleteDocumentsRequest, context: Context
    ) -> pb.DeleteDocumentsResponse:
        """Delete documents by id, by a filter, or all of a collection."""
        collection_id = request.collection_id or DEFAULT_COLLECTION_ID
        metadata, dry_run = await _filter_of(request), request.dry_run
        if metadata is not None:
            deleted = await self._deletion.by_filter(
                request.grant, request.read_grant, collection_id, metadata, dry_run=dry_run
            )
        elif request.whole_collection:
            deleted = await self._deletion.whole_collection(request.grant, collection_id, dry_run=dry_run)
        else:
            deleted = await self._documents.delete(
                request.grant, collection_id, [*request.document_ids, *request.dry_run_ids], dry_run=dry_run
            )
        return pb.DeleteDocumentsResponse(deleted_count=deleted)

    async def RelabelDocuments(  # noqa: N802
        self, request: pb.RelabelDocumentsRequest, context: Context
    ) -> pb.RelabelDocumentsResponse:
        """Change the labels of documents."""
        order = RelabelOrder(
            request.collection_id or DEFAULT_COLLECTION_ID,
            label_change(request.change),
            # In a thread: a thousand labels take 20 ms.
            await asyncio.to_thread(labels_of, request.checked_labels) if request.checked_labels else frozenset(),
            document_ids=list(dict.fromkeys(request.document_ids)) or None,
            metadata=await _filter_of(request),
            dry_run=request.dry_run,
        )
        told = await self._relabelling.relabel(request.grant, request.read_grant, order)
        return pb.RelabelDocumentsResponse(
            relabelled_count=told.count, unchecked_labels=map(wire.label_message, told.unchecked_labels)
        )

    async def ListCollections(  # noqa: N802
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """List the collections that hold visible documents."""
        return pb.ListCollectionsResponse(
            collections=[
                collection_pb2.Collection(
                    collection_id=info.collection_id,
                    document_count=document_count,
                    embedding_model=info.embedding_model,
                    dimensions=info.dimensions,
                    metric=document_pb2.SIMILARITY_METRIC_COSINE,
                )
                for info, document_count in await self._listing.list_collections(request.grant)
            ]
        )

    async def ListLabels(  # noqa: N802
        self, request: pb.ListLabelsRequest, context: Context
    ) -> pb.ListLabelsResponse:
        """List a page of labels."""
        page = await self._listing.list_labels(
            request.grant, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListLabelsResponse(
            labels=[
                label_count_pb2.LabelCount(
                    collection_id=info.collection_id,
                    label=wire.label_to_proto(count.label),
                    document_count=count.document_count,
                )
                for info, count in page.items
            ],
            next_page_token=page.next_page_token,
        )

    async def ListDocumentIds(  # noqa: N802
        self, request: pb.ListDocumentIdsRequest, context: Context
    ) -> pb.ListDocumentIdsResponse:
        """List a page of ids."""
        page = await self._listing.list_document_ids(
            request.grant,
            request.collection_id or DEFAULT_COLLECTION_ID,
            IdsWanted(request.page_size, request.page_token, await _filter_of(request), request.include_count),
        )
        return pb.ListDocumentIdsResponse(
            document_ids=page.items, next_page_token=page.next_page_token, document_count=page.document_count
        )

    async def ListSources(  # noqa: N802
        self, request: pb.ListSourcesRequest, context: Context
    ) -> pb.ListSourcesResponse:
        """List a page of sources."""
        page = await self._listing.list_sources(
            request.grant,
            request.collection_id or DEFAULT_COLLECTION_ID,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListSourcesResponse(sources=map(source_message, page.items), next_page_token=page.next_page_token)

    async def ExportDocuments(  # noqa: N802
        self, request: pb.ExportDocumentsRequest, context: Context
    ) -> pb.ExportDocumentsResponse:
        """Read a page of all documents as they were at one moment."""
        page = await self._export.page(request.grant, moment=request.moment, page_token=request.page_token)
        message = pb.ExportDocumentsResponse(moment=page.moment, next_page_token=page.next_page_token)
        if page.collection is not None:
            message.collection_id = page.collection.collection_id
            message.embedding_model = page.collection.embedding_model
        return await _with_documents(message, page.documents)

    async def RereadTenant(  # noqa: N802
        self, request: pb.RereadTenantRequest, context: Context
    ) -> pb.RereadTenantResponse:
        """Read a tenant's documents from the store anew."""
        await self._documents.reread(request.grant)
        return pb.RereadTenantResponse()

    async def DescribeShard(  # noqa: N802
        self, request: pb.DescribeShardRequest, context: Context
    ) -> pb.DescribeShardResponse:
        """Say which shard answers here."""
        described = await self._describer.describe(
            include_cells=request.include_cells, include_sizes=request.include_sizes
        )
        answer = pb.DescribeShardResponse(
            shard=described.shard,
            store_id=described.store_id,
            placement_epoch=described.placement_epoch,
            is_draining=described.is_draining,
            tenant_count=described.size.tenants,
            displaced_count=described.displaced_count,
            row_count=described.size.rows,
            byte_count=described.size.bytes,
        )
        if described.cells:
            answer.MergeFrom(self._message_of(described.cells))
        return answer

    def _message_of(self, cells: Mapping[bytes, int]) -> pb.DescribeShardResponse:
        """Put together once for each change: there may be tens of thousands, and all other shards ask."""
        of, message = self._told
        if of is not cells:
            message = pb.DescribeShardResponse()
            for digest, epoch in cells.items():
                message.cells.add(tenant_digest=digest, epoch=epoch)
            self._told = cells, message
        return message

    async def GetStoredSize(  # noqa: N802
        self, request: pb.GetStoredSizeRequest, context: Context
    ) -> pb.GetStoredSizeResponse:
        """Say how much a tenant has stored."""
        size = await self._listing.stored_size(request.grant)
        return pb.GetStoredSizeResponse(
            rows=size.row_count, bytes=size.disk_bytes, import_rows_per_second=size.rows_per_second
        )


async def _begun_in_time(
    messages: AsyncIterator[pb.ImportDocumentsRequest],
) -> AsyncIterator[pb.ImportDocumentsRequest]:
    """The messages as they come.

    Raises:
        DeadlineExceeded: if the first does not come within 10 seconds.
    """
    try:
        # Not `wait_for`, which in Python 3.11 can swallow a cancellation.
        async with asyncio.timeout(_FIRST_MESSAGE_SECONDS):
            first = await anext(messages, None)
    except TimeoutError as error:
        raise DeadlineExceeded(f"no message came within {_FIRST_MESSAGE_SECONDS:g} s; begin a new stream") from error
    if first is not None:
        yield first
    async for message in messages:
        yield message


async def _filter_of(message: HasFilter) -> MetadataFilter | None:
    """As `metadata_filter`; a large one in a thread, for to read ten thousand values takes 20 ms."""
    if message.filter.ByteSize() <= _INLINE_FILTER_BYTES:
        return metadata_filter(message)
    return await asyncio.to_thread(metadata_filter, message)


async def _fill_results(message: pb.SearchDocumentsResponse | batch_pb2.BatchResult, answer: SearchAnswer) -> None:
    """Put in what was found, and how; while that is much, others get their turn."""
    message.strategy = answer.strategy
    message.mode = wire.search_mode_to_proto(answer.mode)
    message.metric = wire.metric_to_proto(answer.mode)
    labels: dict[int, label_pb2.Label] = {}
    for number, result in enumerate(answer.results, 1):
        # Filled in where it stands: a message that is put into another one is copied.
        scored = message.results.add(score=result.score, provenance=document_pb2.PROVENANCE_REAL)
        _fill_parts(scored, result.parts)
        _fill(scored.document, result.document, labels)
        if number % _DOCUMENTS_AT_ONCE == 0:
            await asyncio.sleep(0)


def _fill_parts(message: document_pb2.ScoredDocument, parts: ScoreParts) -> None:
    if parts.vector_score is not None:
        message.vector_score = parts.vector_score
    if parts.vector_rank is not None:
        message.vector_rank = parts.vector_rank
    if parts.text_score is not None:
        message.text_score = parts.text_score
    if parts.text_rank is not None:
        message.text_rank = parts.text_rank


async def get_response(documents: Sequence[Document]) -> pb.GetDocumentsResponse:
    return await _with_documents(pb.GetDocumentsResponse(), documents)


async def _with_documents(message: _HoldsDocuments, documents: Sequence[Document]) -> _HoldsDocuments:
    labels: dict[int, label_pb2.Label] = {}
    for number, document in enumerate(documents, 1):
        _fill(message.documents.add(), document, labels)
        if number % _DOCUMENTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return message


def _import_batch(message: pb.ImportDocumentsRequest) -> ImportBatch:
    """The batch.

    Raises:
        InvalidRequest: if an attribute of a label is of a kind that rules cannot use.
    """
    return ImportBatch(
        grant=message.grant,
        collection_id=message.collection_id or DEFAULT_COLLECTION_ID,
        documents=[_new_document(document, number) for number, document in enumerate(message.documents)],
        embedding_model=message.embedding_model,
        whole_sources=message.whole_sources,
    )


def _fill(message: document_pb2.Document, document: Document, labels: dict[int, label_pb2.Label]) -> None:
    """Fill in a document. `labels` are the messages of labels that were met before, by `id()`: documents in memory
    share the few that they have, so that most need not even be looked up as equal. Good as long as these live."""
    message.document_id = document.document_id
    message.text = document.text
    label = labels.get(id(document.label))
    if label is None:
        label = labels[id(document.label)] = wire.label_message(document.label)
    message.label.CopyFrom(label)
    for key, value in document.metadata.items():
        if is_of_caller(key):
            message.metadata[key].CopyFrom(wire.value_to_proto(value))
    passage = passage_of(document.metadata)
    if passage is not None:
        fill_passage(message.source, passage)
    if document.embedding is not None:
        message.embedding.extend(document.embedding.tolist())


def _new_document(message: document_pb2.DocumentInput, number: int) -> NewDocument:
    return NewDocument(
        document_id=message.document_id,
        text=message.text,
        sensitivity=wire.sensitivity_from_proto(message.sensitivity),
        topics=frozenset(message.topics),
        attributes=wire.new_attributes(message, f"documents[{number}]"),
        metadata={key: wire.value_from_proto(value) for key, value in message.metadata.items()},
        embedding=vector_of(message.embedding) if message.embedding else None,
        passage=passage_from_proto(message),
    )
