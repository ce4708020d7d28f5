"""The client for asyncio."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
from tenacity import AsyncRetrying

from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client.channels import Endpoint
from vecsec_client.connection import CallDefaults, new_request_id
from vecsec_client.filters import MetadataFilter
from vecsec_client.importing.async_import import ImportStream, batches_of, run_import
from vecsec_client.importing.batches import Batcher
from vecsec_client.importing.session import ImportSession
from vecsec_client.results import (
    Collection,
    DeleteResult,
    DocumentIdPage,
    DocumentInput,
    DocumentsAnswer,
    Explanation,
    ImportProgress,
    LabelPage,
    PolicyStatus,
    SearchAnswer,
    ViolationCounts,
    ViolationPage,
)
from vecsec_client.retrying import Deadline, RetryPolicy, retry_arguments
from vecsec_client.several import Several, Texts
from vecsec_client.tokens import AsyncTokenProvider, bearer_metadata, provided, static_token
from vecsec_client.values import Action, AttributeValue, Fallback, Sensitivity, ViolationType
from vecsec_client.wire import exchanges
from vecsec_client.wire.error_details import from_rpc_error
from vecsec_client.wire.exchanges import Exchange, ResponseT, ResultT

if TYPE_CHECKING:
    from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub


class AsyncVecSecClient:
    """Talks to a VecSec gateway from asyncio. Close it, or use it in an `async with` block.

        async with AsyncVecSecClient("localhost:50051", token=token_from_environment()) as client:
            answer = await client.search("how do I open a file?", tenant="tenant_a", k=5)

    Its calls take what those of `VecSecClient` take, and raise the same errors.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | AsyncTokenProvider,
        default_tenant: str | None = None,
        timeout: float | None = 30.0,
        retry_policy: RetryPolicy | None = None,
        root_certificates: Path | None = None,
        client_certificate: Path | None = None,
        client_key: Path | None = None,
        plaintext: bool | None = None,
    ) -> None:
        """Prepare a connection, inside of a running event loop; it is made at the first call.

        The arguments are those of `VecSecClient`, but the token provider may also return an awaitable of a token.

        Raises:
            ValueError: if certificates are given together with `plaintext=True`, or half of a client certificate.
            OSError: if a file cannot be read.
        """
        endpoint = Endpoint(address, root_certificates, client_certificate, client_key, plaintext)
        credentials = endpoint.credentials()
        self._channel = (
            grpc.aio.insecure_channel(address, options=endpoint.options())
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=endpoint.options())
        )
        self._stub: GatewayServiceAsyncStub = GatewayServiceStub(self._channel)
        self._token = static_token(token) if isinstance(token, str) else token
        self._defaults = CallDefaults(default_tenant, timeout, retry_policy or RetryPolicy())

    async def search(
        self,
        query: str | Sequence[float],
        *,
        tenant: str | None = None,
        k: int = 10,
        collection: str = "",
        filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
        fallback: Fallback | str = Fallback.MOCK,
        include_embeddings: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 (a deadline that travels with the call)
    ) -> SearchAnswer:
        """Find the nearest documents among those the caller may read; see `VecSecClient.search`."""
        exchange = exchanges.search(
            query,
            tenant_id=self._defaults.tenant_of(tenant),
            k=k,
            collection_id=collection,
            condition=filter,
            include_embeddings=include_embeddings,
            fallback=fallback,
        )
        return await self._call(exchange, timeout)

    async def get_documents(
        self,
        document_ids: Texts,
        *,
        tenant: str | None = None,
        collection: str = "",
        include_embeddings: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> DocumentsAnswer:
        """Read up to 1,000 documents by id; see `VecSecClient.get_documents`."""
        exchange = exchanges.get_documents(
            document_ids,
            tenant_id=self._defaults.tenant_of(tenant),
            collection_id=collection,
            include_embeddings=include_embeddings,
        )
        return await self._call(exchange, timeout)

    async def delete_documents(
        self,
        document_ids: Texts,
        *,
        tenant: str | None = None,
        collection: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> DeleteResult:
        """Delete up to 1,000 documents by id; see `VecSecClient.delete_documents`."""
        exchange = exchanges.delete_documents(
            document_ids, tenant_id=self._defaults.tenant_of(tenant), collection_id=collection
        )
        return await self._call(exchange, timeout)

    async def list_collections(
        self,
        *,
        tenant: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> tuple[Collection, ...]:
        """List the tenant's collections that hold at least one document the caller may read."""
        return await self._call(exchanges.list_collections(tenant_id=self._defaults.tenant_of(tenant)), timeout)

    async def list_labels(
        self,
        *,
        tenant: str | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> LabelPage:
        """A page of the labels of a tenant's documents; see `VecSecClient.list_labels`."""
        exchange = exchanges.list_labels(
            tenant_id=self._defaults.tenant_of(tenant), page_size=page_size, page_token=page_token
        )
        return await self._call(exchange, timeout)

    async def reread_tenant(
        self,
        *,
        tenant: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> str:
        """Have what is kept in memory of a tenant read anew; see `VecSecClient.reread_tenant`."""
        return await self._call(exchanges.reread_tenant(tenant_id=self._defaults.tenant_of(tenant)), timeout)

    async def list_document_ids(
        self,
        *,
        tenant: str | None = None,
        collection: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> DocumentIdPage:
        """A page of the ids of a collection's documents; see `VecSecClient.list_document_ids`."""
        exchange = exchanges.list_document_ids(
            tenant_id=self._defaults.tenant_of(tenant),
            collection_id=collection,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._call(exchange, timeout)

    async def explain_access(
        self,
        *,
        sensitivity: Sensitivity | str,
        topics: Texts,
        action: Action | str = Action.READ,
        attributes: Mapping[str, AttributeValue | Sequence[str]] | None = None,
        tenant: str | None = None,
        label_tenant: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Explanation:
        """Ask whether the caller may touch a row with this label, and why; see `VecSecClient.explain_access`."""
        tenant_id = self._defaults.tenant_of(tenant)
        exchange = exchanges.explain_access(
            tenant_id=tenant_id,
            action=action,
            label_tenant_id=tenant_id if label_tenant is None else label_tenant,
            sensitivity=sensitivity,
            topics=topics,
            attributes=attributes or {},
        )
        return await self._call(exchange, timeout)

    async def policy_status(
        self,
        *,
        tenant: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> PolicyStatus:
        """Which policy decides over a tenant's rows; see `VecSecClient.policy_status`."""
        return await self._call(exchanges.policy_status(tenant_id=self._defaults.tenant_of(tenant)), timeout)

    async def count_violations(
        self,
        *,
        types: Several[ViolationType | str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        tenant: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ViolationCounts:
        """Count violations of a tenant's callers; see `VecSecClient.count_violations`."""
        wanted = exchanges.ViolationFilter(self._defaults.tenant_of(tenant), types, start, end)
        return await self._call(exchanges.count_violations(wanted), timeout)

    async def list_violations(
        self,
        *,
        types: Several[ViolationType | str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
        newest_first: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ViolationPage:
        """List violations of a tenant's callers, one by one; see `VecSecClient.list_violations`."""
        wanted = exchanges.ViolationFilter(self._defaults.tenant_of(tenant), types, start, end)
        exchange = exchanges.list_violations(
            wanted, page_size=page_size, page_token=page_token, newest_first=newest_first
        )
        return await self._call(exchange, timeout)

    def import_documents(
        self,
        documents: Iterable[DocumentInput] | AsyncIterable[DocumentInput],
        *,
        tenant: str | None = None,
        collection: str = "",
        embedding_model: str = "",
        batch_size: int = 200,
        strict: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[ImportProgress]:
        """Store documents, batch by batch, from an ordinary or an asynchronous iterable; see
        `VecSecClient.import_documents`.
        """
        header = exchanges.import_request(
            tenant_id=self._defaults.tenant_of(tenant), collection_id=collection, embedding_model=embedding_model
        )
        session = ImportSession(header, policy=self._defaults.retry_policy, strict=strict)
        deadline = Deadline.after(None) if timeout is None else self._defaults.deadline(timeout)
        stream = ImportStream(self._stub, self._token, deadline)
        return run_import(session, batches_of(documents, Batcher(batch_size)), stream, deadline)

    async def close(self) -> None:
        """Close the connection; calls and imports in flight end as if cancelled, with asyncio.CancelledError."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, exchange: Exchange[ResponseT, ResultT], timeout: float | None) -> ResultT:  # noqa: ASYNC109
        deadline = self._defaults.deadline(timeout)
        request_id = new_request_id()
        method = getattr(self._stub, exchange.method)

        async def attempt() -> ResultT:
            metadata = bearer_metadata(await provided(self._token), request_id)
            try:
                response = await method(exchange.request, timeout=deadline.remaining(), metadata=metadata)
            except grpc.RpcError as error:
                raise from_rpc_error(error, request_id) from error
            return exchange.read(response)

        return await AsyncRetrying(**retry_arguments(self._defaults.retry_policy, deadline))(attempt)
