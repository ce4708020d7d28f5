"""The client for ordinary code."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, Self

import grpc
from tenacity import Retrying

from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client import calls
from vecsec_client.calls import Exchange, ResponseT, ResultT
from vecsec_client.channels import Endpoint
from vecsec_client.connection import CallDefaults, new_request_id
from vecsec_client.importing.batches import Batcher, batches_of
from vecsec_client.importing.blocking_import import ImportStream, run_import
from vecsec_client.importing.session import ImportSession
from vecsec_client.results import DocumentInput, ImportProgress
from vecsec_client.retrying import Deadline, RetryPolicy, retry_arguments
from vecsec_client.tokens import TokenProvider, bearer_metadata, static_token
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
        token: str | TokenProvider,
        default_tenant: str | None = None,
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
            token: the caller's token, or a provider that is asked for it at every try.
            default_tenant: the tenant of calls that name none.
            timeout: seconds for a call with all its retries, if the call gives no other; None waits for ever. Imports
                have no timeout unless their call gives one.
            retry_policy: how often and how patiently failed calls are tried again.
            root_certificates: certificates (PEM) to trust instead of the usual ones.
            client_certificate: a certificate (PEM) to show to a gateway that asks its callers for one.
            client_key: its private key (PEM).
            plaintext: whether to do without encryption; by default only for a gateway on this machine.

        Raises:
            ValueError: if certificates are given together with `plaintext=True`, or half of a client certificate.
            OSError: if a file cannot be read.
        """
        endpoint = Endpoint(address, root_certificates, client_certificate, client_key, plaintext)
        credentials = endpoint.credentials()
        self._channel = (
            grpc.insecure_channel(address, options=endpoint.options())
            if credentials is None
            else grpc.secure_channel(address, credentials, options=endpoint.options())
        )
        self._stub = GatewayServiceStub(self._channel)
        self._token = static_token(token) if isinstance(token, str) else token
        self._defaults = CallDefaults(default_tenant, timeout, retry_policy or RetryPolicy())

    search = _blocking(calls.search)
    get_documents = _blocking(calls.get_documents)
    delete_documents = _blocking(calls.delete_documents)
    list_collections = _blocking(calls.list_collections)
    list_labels = _blocking(calls.list_labels)
    reread_tenant = _blocking(calls.reread_tenant)
    list_document_ids = _blocking(calls.list_document_ids)
    export_documents = _blocking(calls.export_documents)
    explain_access = _blocking(calls.explain_access)
    policy_status = _blocking(calls.policy_status)
    count_violations = _blocking(calls.count_violations)
    list_violations = _blocking(calls.list_violations)

    def import_documents(
        self,
        documents: Iterable[DocumentInput],
        *,
        tenant: str | None = None,
        collection: str = "",
        embedding_model: str = "",
        batch_size: int = 200,
        strict: bool = False,
        timeout: float | None = None,
    ) -> Iterator[ImportProgress]:
        """Store documents, batch by batch; existing ones with the same id are replaced.

        Nothing happens until the answer is iterated. Documents are read no further ahead than a few batches. Those that
        the services refuse are reported in the progress and left out; a broken connection is taken up again where the
        last answer left it.

        Args:
            documents: what to store.
            tenant: the tenant to store into; the caller's own.
            collection: the collection; empty means "documents". It is made if it does not exist.
            embedding_model: the model that embeds the texts of a new collection; empty means the service's default.
            batch_size: how many documents travel and become durable together, at most 1,000.
            strict: raise `DocumentsRejected` at the first refused document, and store nothing from its batch on.
            timeout: seconds for the whole import; without one it takes as long as it takes.
        """
        tenant_id, policy = self._defaults.tenant_of(tenant), self._defaults.retry_policy
        session = ImportSession(tenant_id, collection, embedding_model, policy=policy, strict=strict)
        deadline = Deadline.after(None) if timeout is None else self._defaults.deadline(timeout)
        stream = ImportStream(self._stub, self._token, deadline)
        return run_import(session, batches_of(documents, Batcher(batch_size)), stream, deadline)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _call(self, exchange: Exchange[ResponseT, ResultT]) -> ResultT:
        deadline = self._defaults.deadline(exchange.timeout)
        request_id = new_request_id()
        method = getattr(self._stub, exchange.method)

        def attempt() -> ResultT:
            metadata = bearer_metadata(self._token(), request_id)
            try:
                response = method(exchange.request, timeout=deadline.remaining(), metadata=metadata)
            except grpc.RpcError as error:
                raise from_rpc_error(error, request_id) from error
            return exchange.read(response)

        return Retrying(**retry_arguments(self._defaults.retry_policy, deadline))(attempt)
