"""The retrieval service over gRPC. It gets the grant and nothing else that says who calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import grpc
from opentelemetry.trace import Tracer

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.retrieval.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
from vecsec_chassis.calls import time_remaining
from vecsec_chassis.errors import RetrievalUnavailable
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.lane_channel import LaneChannel
from vecsec_gateway.peer_call import Request, Response, call_unary, traced
from vecsec_gateway.peer_errors import retrieval_error
from vecsec_gateway.peers import (
    BatchStored,
    Collection,
    FoundRows,
    GrantedBatch,
    IdPageRequest,
    LabelPageRequest,
    Lookup,
    Row,
    Search,
)
from vecsec_gateway.wire import WireCriteria, row_from_document, rows_from_results

_SERVICE = "vecsec.retrieval.v1.RetrievalService"


class RetrievalClient:
    """A retrieval peer that tries once."""

    def __init__(self, channel: LaneChannel, tracer: Tracer) -> None:
        self._stub = RetrievalServiceStub(channel.as_channel())
        self._tracer = tracer

    async def search(self, grant: str, search: Search, deadline: Deadline) -> FoundRows:
        """The nearest rows, nearest first."""
        criteria = search.criteria
        assert isinstance(criteria, WireCriteria), "criteria come from the wire and go back to it"
        request = retrieval_pb2.SearchDocumentsRequest(
            grant=grant,
            collection_id=search.collection_id,
            query=criteria.query,
            filter=criteria.filter,
            k=search.k,
            include_embeddings=search.include_embeddings,
        )
        response = await self._call(self._stub.SearchDocuments, "SearchDocuments", request, deadline)
        return FoundRows(rows_from_results(response.results), response.strategy)

    async def get(self, grant: str, lookup: Lookup, deadline: Deadline) -> list[Row]:
        """Rows by id; their provenance goes without saying, for only searches are ever made up."""
        request = retrieval_pb2.GetDocumentsRequest(
            grant=grant,
            collection_id=lookup.collection_id,
            document_ids=lookup.document_ids,
            include_embeddings=lookup.include_embeddings,
        )
        response = await self._call(self._stub.GetDocuments, "GetDocuments", request, deadline)
        return [row_from_document(document) for document in response.documents]

    async def delete(self, grant: str, lookup: Lookup, deadline: Deadline) -> int:
        """Delete by id."""
        request = retrieval_pb2.DeleteDocumentsRequest(
            grant=grant, collection_id=lookup.collection_id, document_ids=lookup.document_ids
        )
        response = await self._call(self._stub.DeleteDocuments, "DeleteDocuments", request, deadline)
        return response.deleted_count

    async def list_collections(self, grant: str, tenant_id: str, deadline: Deadline) -> Sequence[Collection]:
        """The tenant's collections."""
        request = retrieval_pb2.ListCollectionsRequest(grant=grant)
        response = await self._call(self._stub.ListCollections, "ListCollections", request, deadline)
        return response.collections

    async def list_labels(
        self, grant: str, page: LabelPageRequest, deadline: Deadline
    ) -> retrieval_pb2.ListLabelsResponse:
        """A page of the tenant's labels."""
        request = retrieval_pb2.ListLabelsRequest(grant=grant, page_size=page.page_size, page_token=page.page_token)
        return await self._call(self._stub.ListLabels, "ListLabels", request, deadline)

    async def list_document_ids(
        self, grant: str, page: IdPageRequest, deadline: Deadline
    ) -> retrieval_pb2.ListDocumentIdsResponse:
        """A page of the ids of a collection's documents."""
        request = retrieval_pb2.ListDocumentIdsRequest(
            grant=grant, collection_id=page.collection_id, page_size=page.page_size, page_token=page.page_token
        )
        return await self._call(self._stub.ListDocumentIds, "ListDocumentIds", request, deadline)

    async def reread(self, grant: str, tenant_id: str, deadline: Deadline) -> None:
        """Let the tenant's documents be read from the store anew."""
        request = retrieval_pb2.RereadTenantRequest(grant=grant)
        await self._call(self._stub.RereadTenant, "RereadTenant", request, deadline)

    async def store(self, batches: AsyncIterator[GrantedBatch]) -> AsyncGenerator[BatchStored, None]:
        """Store batches as they come."""
        broken_off: list[Exception] = []
        sent = acknowledged = 0
        is_sent = False

        async def send() -> None:
            # An import whose batches break off is ended in good order, and the error raised once everything sent before
            # is acknowledged: of a call that is cancelled, the caller does not learn what is already durable.
            nonlocal sent, is_sent
            try:
                async for granted in batches:
                    sent += 1
                    try:
                        await call.write(_batch_to_proto(granted))
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
            call = self._stub.ImportDocuments(timeout=time_remaining(), metadata=metadata)
            # In a task of our own: gRPC's would go on waiting for batches when the call has ended.
            sending = asyncio.create_task(send(), name="send batches to retrieval")
            try:
                async for response in call:
                    acknowledged += 1
                    yield BatchStored(response.batch_number, response.stored_count, response.total_stored_count)
            except grpc.aio.AioRpcError as error:
                raise retrieval_error(error) from error
            finally:
                sending.cancel()
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
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        name: str,
        request: Request,
        deadline: Deadline,
    ) -> Response:
        try:
            return await call_unary(method, f"{_SERVICE}/{name}", request, deadline=deadline, tracer=self._tracer)
        except grpc.aio.AioRpcError as error:
            raise retrieval_error(error) from error


def _batch_to_proto(granted: GrantedBatch) -> retrieval_pb2.ImportDocumentsRequest:
    batch = granted.batch
    request = retrieval_pb2.ImportDocumentsRequest(
        grant=granted.grant or "", collection_id=batch.collection_id, embedding_model=batch.embedding_model
    )
    request.documents.extend(batch.documents)  # type: ignore[arg-type]  # passed on unread
    return request
