"""The client for asyncio."""

import copy
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

import grpc
from tenacity import AsyncRetrying

from vecsec_client import calls, source_calls
from vecsec_client.calls import Exchange, ResponseT, ResultT, take_signature
from vecsec_client.channels import Endpoint
from vecsec_client.connection import CallDefaults, new_request_id
from vecsec_client.errors import VecSecError
from vecsec_client.filters import MetadataFilter
from vecsec_client.importing.async_import import ImportStream, async_batches_of, run_import
from vecsec_client.importing.batches import Batcher
from vecsec_client.importing.session import ImportSession
from vecsec_client.importing.source_batches import SourceBatcher
from vecsec_client.importing.summing import ImportSum
from vecsec_client.iterating import IDS_A_PAGE, all_sources_async, iterate_async
from vecsec_client.relabelling import relabel_documents
from vecsec_client.results import Document, DocumentInput, ImportProgress, ImportSummary
from vecsec_client.retrying import Deadline, RetryPolicy, retry_arguments
from vecsec_client.search_batch import search_batch
from vecsec_client.shared_channel import SharedAsyncChannels, closed
from vecsec_client.sources import Source
from vecsec_client.tokens import AsyncTokenProvider, bearer_metadata, nobodys_token, provided, provider_of
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


def _carried_out(
    stream: "Callable[Concatenate[AsyncVecSecClient, P], AsyncIterator[ImportProgress]]",
) -> "Callable[Concatenate[AsyncVecSecClient, P], Coroutine[Any, Any, ImportSummary]]":
    """An import as a method that does it."""

    async def import_documents(self: "AsyncVecSecClient", /, *arguments: P.args, **keywords: P.kwargs) -> ImportSummary:
        """Store documents, from an ordinary or an asynchronous iterable; see `VecSecClient.import_documents`."""
        total = ImportSum()
        async for progress in stream(self, *arguments, **keywords):
            total.add(progress)
        return total.summary()

    take_signature(import_documents, stream, ImportSummary)
    return import_documents


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
        token: str | AsyncTokenProvider | None,
        default_tenant: str | None = None,
        allow_mock: bool = False,
        timeout: float | None = 30.0,
        retry_policy: RetryPolicy | None = None,
        root_certificates: Path | None = None,
        client_certificate: Path | None = None,
        client_key: Path | None = None,
        plaintext: bool | None = None,
    ) -> None:
        """Prepare a connection; it is made at the first call, in the event loop that runs then.

        So a client may be made anywhere, before any loop runs, and a later loop works, too: each has a connection of
        its own. The arguments are those of `VecSecClient`, but the token provider may also return an awaitable.

        Raises:
            ValueError: if certificates are given together with `plaintext=True`, or half of a client certificate.
            OSError: if a file cannot be read.
        """
        endpoint = Endpoint(address, root_certificates, client_certificate, client_key, plaintext)
        self._channel = SharedAsyncChannels(endpoint)
        self._token: AsyncTokenProvider = nobodys_token if token is None else provider_of(token)
        self._is_view = False
        self._is_closed = False
        self._defaults = CallDefaults(default_tenant, timeout, retry_policy or RetryPolicy(), allow_mock)

    def with_token(self, token: str | AsyncTokenProvider, *, default_tenant: str | None = None) -> Self:
        """The same client for somebody else: a view that calls under another token, over the same connection.

        For servers, whose every request has a user of its own. Views cost nothing to make, and as many as there are
        requests may be used at once: each bears its own token and never another's. What else the client was made with
        holds for its views. Closing a view ends the view alone; closing the client ends all its views.

        Args:
            token: the other caller's token, or a provider that is asked for it at every try; it runs in the task that
                calls, so it may read context variables, and may return an awaitable.
            default_tenant: the tenant of the view's calls that name none; None means the client's own default.

        Raises:
            TypeError: if the token is neither a text nor a function, such as None.
        """
        view = copy.copy(self)
        tenant = self._defaults.tenant if default_tenant is None else default_tenant
        vars(view).update(
            _token=provider_of(token),
            _defaults=replace(self._defaults, tenant=tenant),
            _is_view=True,
            _is_closed=False,
        )
        return view

    search = _awaited(calls.search)
    search_batch = _awaited(search_batch)
    get_documents = _awaited(calls.get_documents)
    delete_documents = _awaited(calls.delete_documents)
    relabel_documents = _awaited(relabel_documents)
    list_collections = _awaited(calls.list_collections)
    list_labels = _awaited(calls.list_labels)
    reread_tenant = _awaited(calls.reread_tenant)
    list_document_ids = _awaited(calls.list_document_ids)
    count_documents = _awaited(calls.count_documents)
    export_documents = _awaited(calls.export_documents)
    list_sources = _awaited(source_calls.list_sources)
    delete_source = _awaited(source_calls.delete_source)
    relabel_source = _awaited(source_calls.relabel_source)
    explain_access = _awaited(calls.explain_access)
    policy_status = _awaited(calls.policy_status)
    tenant_usage = _awaited(calls.tenant_usage)
    count_violations = _awaited(calls.count_violations)
    list_violations = _awaited(calls.list_violations)
    list_foreign_access = _awaited(calls.list_foreign_access)

    def iter_documents(
        self,
        *,
        tenant: str | None = None,
        collection: str = "",
        filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
        include_embeddings: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Document]:
        """The documents of a collection that the caller may read; see `VecSecClient.iter_documents`."""
        place: dict[str, Any] = {"tenant": tenant, "collection": collection, "filter": filter, "timeout": timeout}
        return iterate_async(
            lambda token: self.list_document_ids(page_size=IDS_A_PAGE, page_token=token, **place),
            lambda ids: self.get_documents(ids, include_embeddings=include_embeddings, **place),
        )

    def iter_sources(
        self, *, tenant: str | None = None, collection: str = "", timeout: float | None = None
    ) -> AsyncIterator[Source]:
        """The sources of a collection of which the caller may read at least one passage, by their ids; `timeout` is for
        each of the calls that it takes."""
        place: dict[str, Any] = {"tenant": tenant, "collection": collection, "timeout": timeout}
        return all_sources_async(lambda token: self.list_sources(page_token=token, **place))

    def stream_import(
        self,
        documents: Iterable[DocumentInput] | AsyncIterable[DocumentInput],
        *,
        tenant: str | None = None,
        collection: str = "",
        embedding_model: str = "",
        batch_size: int = 200,
        strict: bool = False,
        whole_sources: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[ImportProgress]:
        """Store documents, batch by batch, from an ordinary or an asynchronous iterable, and say after each how far it
        is; see `VecSecClient.stream_import`.
        """
        tenant_id, policy = self._defaults.tenant_of(tenant), self._defaults.retry_policy
        session = ImportSession(
            tenant_id, collection, embedding_model, policy=policy, strict=strict, whole_sources=whole_sources
        )
        deadline = Deadline.after(None) if timeout is None else self._defaults.deadline(timeout)
        stream = ImportStream(self._stub, self._token, deadline)
        batcher = SourceBatcher(batch_size) if whole_sources else Batcher(batch_size)
        return run_import(session, async_batches_of(documents, batcher), stream, deadline)

    import_documents = _carried_out(stream_import)

    async def close(self) -> None:
        """Close the connection; calls and imports in flight end as if cancelled, with asyncio.CancelledError.

        A view (see `with_token`) closes itself alone, and leaves what is in flight.
        """
        self._is_closed = True
        if not self._is_view:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def _stub(self) -> "GatewayServiceAsyncStub":
        if self._is_closed:
            raise closed()
        return self._channel.stub()

    async def _call(self, exchange: Exchange[ResponseT, ResultT]) -> ResultT:
        deadline = self._defaults.deadline(exchange.timeout)
        request_id = new_request_id()
        failures: list[VecSecError] = []

        async def attempt() -> ResultT:
            self._stub()  # one that is closed asks for no token
            metadata = bearer_metadata(await provided(self._token), request_id)
            method = getattr(self._stub(), exchange.method)  # each time, for it may be closed meanwhile
            try:
                response = await method(exchange.request, timeout=deadline.remaining(), metadata=metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error, request_id)
                if exchange.done_before is not None and exchange.was_done(failure, failures):
                    return exchange.done_before
                failures.append(failure)
                raise failure from error
            return exchange.result_of(response, request_id)

        return await AsyncRetrying(**retry_arguments(self._defaults.retry_policy, deadline))(attempt)
