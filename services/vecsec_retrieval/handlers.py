"""The retrieval service on the wire: messages to values, values to messages, nothing decided."""

import asyncio
from collections.abc import AsyncIterator

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec_chassis.domain.errors import DeadlineExceeded
from vecsec_chassis.rpc.interceptors import Context
from vecsec_retrieval import wire
from vecsec_retrieval.use_cases.documents import Documents
from vecsec_retrieval.use_cases.import_documents import BatchStore, ImportSession
from vecsec_retrieval.use_cases.listing import Listing
from vecsec_retrieval.use_cases.permissions import Permissions
from vecsec_retrieval.use_cases.search_documents import Searching

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
_FIRST_MESSAGE_SECONDS = 10.0
"""An import that never begins holds a place that others need; how long one may pause is the chassis' to say."""


class RetrievalHandlers(retrieval_service_pb2_grpc.RetrievalServiceServicer):
    """Hands each call to its use case."""

    def __init__(
        self,
        *,
        permissions: Permissions,
        searching: Searching,
        batches: BatchStore,
        documents: Documents,
        listing: Listing,
    ) -> None:
        self._permissions = permissions
        self._searching = searching
        self._batches = batches
        self._documents = documents
        self._listing = listing

    async def SearchDocuments(  # noqa: N802 (the contract's name)
        self, request: pb.SearchDocumentsRequest, context: Context
    ) -> pb.SearchDocumentsResponse:
        """Find the nearest visible documents."""
        answer = await self._searching.search(
            request.grant,
            wire.collection_id(request.collection_id),
            wire.search_order(request),
            include_embeddings=request.include_embeddings,
        )
        return await wire.search_response(answer)

    async def ImportDocuments(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ImportDocumentsRequest], context: Context
    ) -> AsyncIterator[pb.ImportDocumentsResponse]:
        """Store batch after batch, and say of each when it is durable."""
        session = ImportSession(self._permissions, self._batches)
        async for request in _begun_in_time(request_iterator):
            # In a thread: to read a thousand vectors out of their message takes 30 ms.
            batch = await asyncio.to_thread(wire.import_batch, request)
            yield wire.import_response(await session.store(batch))

    async def GetDocuments(  # noqa: N802
        self, request: pb.GetDocumentsRequest, context: Context
    ) -> pb.GetDocumentsResponse:
        """Read documents by id."""
        documents = await self._documents.get(
            request.grant,
            wire.collection_id(request.collection_id),
            request.document_ids,
            include_embeddings=request.include_embeddings,
        )
        return wire.get_response(documents)

    async def DeleteDocuments(  # noqa: N802
        self, request: pb.DeleteDocumentsRequest, context: Context
    ) -> pb.DeleteDocumentsResponse:
        """Delete documents by id."""
        deleted = await self._documents.delete(
            request.grant, wire.collection_id(request.collection_id), list(request.document_ids)
        )
        return pb.DeleteDocumentsResponse(deleted_count=deleted)

    async def ListCollections(  # noqa: N802
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """List the collections that hold visible documents."""
        return wire.list_response(await self._listing.list_collections(request.grant))

    async def ListLabels(  # noqa: N802
        self, request: pb.ListLabelsRequest, context: Context
    ) -> pb.ListLabelsResponse:
        """List a page of labels."""
        page = await self._listing.list_labels(
            request.grant, page_size=request.page_size, page_token=request.page_token
        )
        return wire.labels_response(page)

    async def ListDocumentIds(  # noqa: N802
        self, request: pb.ListDocumentIdsRequest, context: Context
    ) -> pb.ListDocumentIdsResponse:
        """List a page of ids."""
        page = await self._listing.list_document_ids(
            request.grant,
            wire.collection_id(request.collection_id),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListDocumentIdsResponse(document_ids=page.document_ids, next_page_token=page.next_page_token)

    async def RereadTenant(  # noqa: N802
        self, request: pb.RereadTenantRequest, context: Context
    ) -> pb.RereadTenantResponse:
        """Read a tenant's documents from the store anew."""
        await self._documents.reread(request.grant)
        return pb.RereadTenantResponse()


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
