"""The client for ordinary code."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self

import grpc
from tenacity import Retrying

from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client import calls, source_calls
from vecsec_client.calls import Exchange, ResponseT, ResultT, take_signature
from vecsec_client.channels import Endpoint
from vecsec_client.connection import CallDefaults, new_request_id
from vecsec_client.errors import VecSecError
from vecsec_client.filters import MetadataFilter
from vecsec_client.importing.batches import Batcher, batches_of
from vecsec_client.importing.blocking_import import ImportStream, run_import
from vecsec_client.importing.session import ImportSession
from vecsec_client.importing.source_batches import SourceBatcher
from vecsec_client.importing.summing import ImportSum
from vecsec_client.iterating import IDS_A_PAGE, all_sources, iterate
from vecsec_client.relabelling import relabel_documents
from vecsec_client.results import Document, DocumentInput, ImportProgress, ImportSummary
from vecsec_client.retrying import Deadline, RetryPolicy, retry_arguments
from vecsec_client.search_batch import search_batch
from vecsec_client.shared_channel import SharedChannel, closed
from vecsec_client.sources import Source
from vecsec_client.tokens import TokenProvider, bearer_metadata, nobodys_token, provider_of
from vecsec_client.wire.error_details import from_rpc_error

P = ParamSpec("P")


def _blocking(
    build: Callable[Concatenate[CallDefaults, P], Exchange[ResponseT, ResultT]],
) -> "Callable[Concatenate[VecSecClient, P], ResultT]":
    """A call as a method of the client."""

    def call(self: "VecSecClient", /, *arguments: P.args, **keywords: P.kwargs) -> ResultT:
        return self._call(build(self._defaults, *arguments, **keywords))

    calls.describe(call, build)
    return call


def _carried_out(
    stream: "Callable[Concatenate[VecSecClient, P], Iterator[ImportProgress]]",
) -> "Callable[Concatenate[VecSecClient, P], ImportSummary]":
    """An import as a method that does it."""

    def import_documents(self: "VecSecClient", /, *arguments: P.args, **keywords: P.kwargs) -> ImportSummary:
        """Store documents; existing ones with the same id are replaced. See `stream_import` for the arguments.

        Returns:
            What was stored, and what the services refused.

        Raises:
            DocumentsRejected: in a strict import, at the first refused document.
            VecSecError: when it cannot go on; a part may be stored, and storing it again does no harm.
        """
        total = ImportSum()
        for progress in stream(self, *arguments, **keywords):
            total.add(progress)
        return total.summary()

    take_signature(import_documents, stream, ImportSummary)
    return import_documents


class VecSecClient:
    """Talks to a VecSec gateway. It may be shared between threads; close it, or use it in a `with` block.

        with VecSecClient("localhost:50051", token=token_from_environment()) as client:
            answer = client.search("how do I open a file?", tenant="tenant_a", k=5)

    Every call raises `VecSecError`, in the subclass for the kind of failure.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | TokenProvider | None,
        default_tenant: str | None = None,
        allow_mock: bool = False,
        timeout: float | None = 30.0,
        retry_policy: RetryPolicy | None = None,
        root_certificates: Path | None = None,
        client_certificate: Path | None = None,
        client_key: Path | None = None,
        plaintext: bool | None = None,
    ) -> None:
        """Prepare a connection; it is made at the first call.

        Args:
            address: `host:port` of the gateway.
            token: the caller's token, or a provider that is asked for it at every try. None for a client that only
                lends its connection to views (`with_token`): its own calls raise `Unauthenticated`.
            default_tenant: the tenant of calls that name none.
            allow_mock: whether searches that do not say it themselves may be answered with made-up rows, labelled as
                such, when real retrieval is off or out of reach. Else they raise `RealRetrievalUnavailable`.
            timeout: seconds for a call with all its retries, if the call gives no other; None waits for ever. Imports
                have no timeout unless their call gives one.
            retry_policy: how often and how patiently failed calls are tried again.
            root_certificates: certificates (PEM) to trust instead of the usual ones.
            client_certificate: a certificate (PEM) to show to a gateway that asks its callers for one.
            client_key: its private key (PEM).
            plaintext: whether to do without encryption; by default only for a gateway on this machine.

        Raises:
            TypeError: if the token is neither a text, a function nor None.
            ValueError: if certificates are given together with `plaintext=True`, or half of a client certificate.
            OSError: if a file cannot be read.
        """
        endpoint = Endpoint(address, root_certificates, client_certificate, client_key, plaintext)
        self._channel = SharedChannel(endpoint)
        self._token: TokenProvider = nobodys_token if token is None else provider_of(token)
        self._is_view = False
        self._is_closed = False
        self._defaults = CallDefaults(default_tenant, timeout, retry_policy or RetryPolicy(), allow_mock)

    def with_token(self, token: str | TokenProvider, *, default_tenant: str | None = None) -> Self:
        """The same client for somebody else: a view that calls under another token, over the same connection.

        For servers, whose every request has a user of its own. Views cost nothing to make, and as many as there are
        requests may be used at once: each bears its own token and never another's. What else the client was made with
        holds for its views. Closing a view ends the view alone; closing the client ends all its views.

        Args:
            token: the other caller's token, or a provider that is asked for it at every try; it runs in the thread
                that calls, so it may read context variables.
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

    search = _blocking(calls.search)
    search_batch = _blocking(search_batch)
    get_documents = _blocking(calls.get_documents)
    delete_documents = _blocking(calls.delete_documents)
    relabel_documents = _blocking(relabel_documents)
    list_collections = _blocking(calls.list_collections)
    list_labels = _blocking(calls.list_labels)
    reread_tenant = _blocking(calls.reread_tenant)
    list_document_ids = _blocking(calls.list_document_ids)
    count_documents = _blocking(calls.count_documents)
    export_documents = _blocking(calls.export_documents)
    list_sources = _blocking(source_calls.list_sources)
    delete_source = _blocking(source_calls.delete_source)
    relabel_source = _blocking(source_calls.relabel_source)
    explain_access = _blocking(calls.explain_access)
    policy_status = _blocking(calls.policy_status)
    tenant_usage = _blocking(calls.tenant_usage)
    count_violations = _blocking(calls.count_violations)
    list_violations = _blocking(calls.list_violations)
    list_foreign_access = _blocking(calls.list_foreign_access)

    def iter_documents(
        self,
        *,
        tenant: str | None = None,
        collection: str = "",
        filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
        include_embeddings: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Document]:
        """The documents of a collection that the caller may read, in ascending order of their ids.

        Each is as it is when it is read: it is not one moment's state, as `export_documents` gives to those who may
        configure. What is stored meanwhile behind the place that was reached comes, too.

        Args:
            tenant: the tenant whose documents are wanted.
            collection: the collection; empty means "documents".
            filter: only those that this holds for.
            include_embeddings: whether to return embeddings; only for roles that may configure.
            timeout: seconds for each of the calls that it takes.
        """
        place: dict[str, Any] = {"tenant": tenant, "collection": collection, "filter": filter, "timeout": timeout}
        return iterate(
            lambda token: self.list_document_ids(page_size=IDS_A_PAGE, page_token=token, **place),
            lambda ids: self.get_documents(ids, include_embeddings=include_embeddings, **place),
        )

    def iter_sources(
        self, *, tenant: str | None = None, collection: str = "", timeout: float | None = None
    ) -> Iterator[Source]:
        """The sources of a collection of which the caller may read at least one passage, by their ids; `timeout` is for
        each of the calls that it takes."""
        place: dict[str, Any] = {"tenant": tenant, "collection": collection, "timeout": timeout}
        return all_sources(lambda token: self.list_sources(page_token=token, **place))

    def stream_import(
        self,
        documents: Iterable[DocumentInput],
        *,
        tenant: str | None = None,
        collection: str = "",
        embedding_model: str = "",
        batch_size: int = 200,
        strict: bool = False,
        whole_sources: bool = False,
        timeout: float | None = None,
    ) -> Iterator[ImportProgress]:
        """Store documents batch by batch, and say after each how far it is; those with the same id are replaced.

        Nothing happens until the answer is iterated: `import_documents` does it. Documents are read no further ahead
        than a few batches. Those that the services refuse are reported in the progress and left out; a broken
        connection is taken up again where the last answer left it.

        Args:
            documents: what to store.
            tenant: the tenant to store into; the caller's own.
            collection: the collection; empty means "documents". It is made if it does not exist.
            embedding_model: the model that embeds the texts of a new collection; empty means the service's default.
            batch_size: how many documents travel and become durable together, at most 1,000.
            strict: raise `DocumentsRejected` at the first refused document, and store nothing from its batch on.
            whole_sources: replace each source as a whole, in one step: what else is stored of it goes, whoever may see
                it, if all of it is the caller's to write. The passages of a source follow one another in `documents`,
                at most 1,000 and 4 MiB; if one of them is refused, all are left out.
            timeout: seconds for the whole import; without one it takes as long as it takes.

        Raises:
            DocumentsRejected: in a strict import.
            VecSecError: when it cannot go on; what the last progress says is stored.
        """
        tenant_id, policy = self._defaults.tenant_of(tenant), self._defaults.retry_policy
        session = ImportSession(
            tenant_id, collection, embedding_model, policy=policy, strict=strict, whole_sources=whole_sources
        )
        deadline = Deadline.after(None) if timeout is None else self._defaults.deadline(timeout)
        stream = ImportStream(self._stub, self._token, deadline)
        batcher = SourceBatcher(batch_size) if whole_sources else Batcher(batch_size)
        return run_import(session, batches_of(documents, batcher), stream, deadline)

    import_documents = _carried_out(stream_import)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled.

        A view (see `with_token`) closes itself alone, and leaves what is in flight.
        """
        self._is_closed = True
        if not self._is_view:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _stub(self) -> GatewayServiceStub:
        if self._is_closed:
            raise closed()
        return self._channel.stub()

    def _call(self, exchange: Exchange[ResponseT, ResultT]) -> ResultT:
        deadline = self._defaults.deadline(exchange.timeout)
        request_id = new_request_id()
        failures: list[VecSecError] = []

        def attempt() -> ResultT:
            self._stub()  # one that is closed asks for no token
            metadata = bearer_metadata(self._token(), request_id)
            method = getattr(self._stub(), exchange.method)  # each time, for it may be closed meanwhile
            try:
                response = method(exchange.request, timeout=deadline.remaining(), metadata=metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error, request_id)
                if exchange.done_before is not None and exchange.was_done(failure, failures):
                    return exchange.done_before
                failures.append(failure)
                raise failure from error
            except ValueError:
                self._stub()  # another thread may have closed it in this moment
                raise
            return exchange.result_of(response, request_id)

        return Retrying(**retry_arguments(self._defaults.retry_policy, deadline))(attempt)
