"""The client for asyncio."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

import grpc
from tenacity import AsyncRetrying

from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client import calls
from vecsec_client.calls import Exchange, ResponseT, ResultT
from vecsec_client.channels import Endpoint
from vecsec_client.connection import CallDefaults, new_request_id
from vecsec_client.importing.async_import import ImportStream, async_batches_of, run_import
from vecsec_client.importing.batches import Batcher
from vecsec_client.importing.session import ImportSession
from vecsec_client.results import DocumentInput, ImportProgress
from vecsec_client.retrying import Deadline, RetryPolicy, retry_arguments
from vecsec_client.tokens import AsyncTokenProvider, bearer_metadata, provided, static_token
from vecsec_client.wire.error_details import from_rpc_error

if TYPE_CHECKING:
    from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

P = ParamSpec("P")


def _awaited(
    build: Callable[Concatenate[CallDefaults, P], Exchange[ResponseT, ResultT]],
) -> "Callable[Concatenate[AsyncVecSecClient, P], Coroutine[Any, Any, ResultT]]":
    """A call as a method of the client."""

    async def call(self: "AsyncVecSecClient", /, *arguments: P.args, **keywords: P.kwargs) -> ResultT:
        return await self._call(build(self._defaults, *arguments, **keywords))

    calls.describe(call, build)
    return call


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

    search = _awaited(calls.search)
    get_documents = _awaited(calls.get_documents)
    delete_documents = _awaited(calls.delete_documents)
    list_collections = _awaited(calls.list_collections)
    list_labels = _awaited(calls.list_labels)
    reread_tenant = _awaited(calls.reread_tenant)
    list_document_ids = _awaited(calls.list_document_ids)
    export_documents = _awaited(calls.export_documents)
    explain_access = _awaited(calls.explain_access)
    policy_status = _awaited(calls.policy_status)
    count_violations = _awaited(calls.count_violations)
    list_violations = _awaited(calls.list_violations)

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
        tenant_id, policy = self._defaults.tenant_of(tenant), self._defaults.retry_policy
        session = ImportSession(tenant_id, collection, embedding_model, policy=policy, strict=strict)
        deadline = Deadline.after(None) if timeout is None else self._defaults.deadline(timeout)
        stream = ImportStream(self._stub, self._token, deadline)
        return run_import(session, async_batches_of(documents, Batcher(batch_size)), stream, deadline)

    async def close(self) -> None:
        """Close the connection; calls and imports in flight end as if cancelled, with asyncio.CancelledError."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def _call(self, exchange: Exchange[ResponseT, ResultT]) -> ResultT:
        deadline = self._defaults.deadline(exchange.timeout)
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
