"""The client for ordinary code."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from tenacity import Retrying

from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client.channels import Endpoint
from vecsec_client.connection import CallDefaults, new_request_id
from vecsec_client.filters import MetadataFilter
from vecsec_client.importing.batches import Batcher
from vecsec_client.importing.blocking_import import ImportStream, batches_of, run_import
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
from vecsec_client.tokens import TokenProvider, bearer_metadata, static_token
from vecsec_client.values import Action, AttributeValue, Fallback, Sensitivity, ViolationType
from vecsec_client.wire import exchanges
from vecsec_client.wire.error_details import from_rpc_error
from vecsec_client.wire.exchanges import Exchange, ResponseT, ResultT


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

    def search(
        self,
        query: str | Sequence[float],
        *,
        tenant: str | None = None,
        k: int = 10,
        collection: str = "",
        filter: MetadataFilter | None = None,  # noqa: A002 (the contract's own word)
        fallback: Fallback | str = Fallback.MOCK,
        include_embeddings: bool = False,
        timeout: float | None = None,
    ) -> SearchAnswer:
        """Find the nearest documents among those the caller may read.

        Args:
            query: a text, or a vector of the collection's own model.
            tenant: the tenant to search.
            k: how many documents to find, 1 to 1,000.
            collection: the collection to search; empty means "documents".
            filter: a condition on the documents' metadata.
            fallback: what to do when real retrieval is off or out of reach; look at the answer's `provenance`.
            include_embeddings: whether to return embeddings; only for roles that may configure.
            timeout: seconds for the call with all its retries.
        """
        exchange = exchanges.search(
            query,
            tenant_id=self._defaults.tenant_of(tenant),
            k=k,
            collection_id=collection,
            condition=filter,
            include_embeddings=include_embeddings,
            fallback=fallback,
        )
        return self._call(exchange, timeout)

    def get_documents(
        self,
        document_ids: Texts,
        *,
        tenant: str | None = None,
        collection: str = "",
        include_embeddings: bool = False,
        timeout: float | None = None,
    ) -> DocumentsAnswer:
        """Read up to 1,000 documents by id; those that do not exist or may not be read are left out alike."""
        exchange = exchanges.get_documents(
            document_ids,
            tenant_id=self._defaults.tenant_of(tenant),
            collection_id=collection,
            include_embeddings=include_embeddings,
        )
        return self._call(exchange, timeout)

    def delete_documents(
        self,
        document_ids: Texts,
        *,
        tenant: str | None = None,
        collection: str = "",
        timeout: float | None = None,
    ) -> DeleteResult:
        """Delete up to 1,000 documents by id; those that do not exist or may not be deleted are left out alike."""
        exchange = exchanges.delete_documents(
            document_ids, tenant_id=self._defaults.tenant_of(tenant), collection_id=collection
        )
        return self._call(exchange, timeout)

    def list_collections(self, *, tenant: str | None = None, timeout: float | None = None) -> tuple[Collection, ...]:
        """List the tenant's collections that hold at least one document the caller may read."""
        return self._call(exchanges.list_collections(tenant_id=self._defaults.tenant_of(tenant)), timeout)

    def list_labels(
        self, *, tenant: str | None = None, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> LabelPage:
        """A page of the labels of a tenant's documents, with their numbers; for callers who may configure it.

        Go on with the page's `next_page_token` until it is empty. A page may hold fewer than `page_size` labels (at
        most 1,000; 0 leaves it to the service) though there are more.
        """
        exchange = exchanges.list_labels(
            tenant_id=self._defaults.tenant_of(tenant), page_size=page_size, page_token=page_token
        )
        return self._call(exchange, timeout)

    def reread_tenant(self, *, tenant: str | None = None, timeout: float | None = None) -> str:
        """Have what is kept in memory of a tenant read from the store anew; for callers who may configure it.

        Returns the version of the policy that allowed it.
        """
        return self._call(exchanges.reread_tenant(tenant_id=self._defaults.tenant_of(tenant)), timeout)

    def list_document_ids(
        self,
        *,
        tenant: str | None = None,
        collection: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> DocumentIdPage:
        """A page of the ids of a collection's documents that the caller may read, in ascending order.

        Go on with the page's `next_page_token` until it is empty. At most 1,000 ids a page; 0 leaves it to the service.
        """
        exchange = exchanges.list_document_ids(
            tenant_id=self._defaults.tenant_of(tenant),
            collection_id=collection,
            page_size=page_size,
            page_token=page_token,
        )
        return self._call(exchange, timeout)

    def explain_access(
        self,
        *,
        sensitivity: Sensitivity | str,
        topics: Texts,
        action: Action | str = Action.READ,
        attributes: Mapping[str, AttributeValue | Sequence[str]] | None = None,
        tenant: str | None = None,
        label_tenant: str | None = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Ask whether the caller may touch a row with this label and, if it may configure the tenant, why.

        Args:
            sensitivity: the row's sensitivity.
            topics: what the row is about.
            action: what would be done with it.
            attributes: further attributes of its label.
            tenant: the tenant whose row it would be.
            label_tenant: the tenant that the row itself is tagged with, if that is another one.
            timeout: seconds for the call with all its retries.
        """
        tenant_id = self._defaults.tenant_of(tenant)
        exchange = exchanges.explain_access(
            tenant_id=tenant_id,
            action=action,
            label_tenant_id=tenant_id if label_tenant is None else label_tenant,
            sensitivity=sensitivity,
            topics=topics,
            attributes=attributes or {},
        )
        return self._call(exchange, timeout)

    def policy_status(self, *, tenant: str | None = None, timeout: float | None = None) -> PolicyStatus:
        """Which policy decides over a tenant's rows, and what a candidate would change; for callers who may configure
        the tenant."""
        return self._call(exchanges.policy_status(tenant_id=self._defaults.tenant_of(tenant)), timeout)

    def count_violations(
        self,
        *,
        types: Several[ViolationType | str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> ViolationCounts:
        """Count violations of a tenant's callers; for callers who may configure the tenant.

        Args:
            types: the kinds of rule that were broken; all, if there are none.
            start: count from then on; a time without a zone is this machine's.
            end: count what was before then.
            tenant: the tenant whose callers are meant.
            timeout: seconds for the call with all its retries.
        """
        wanted = exchanges.ViolationFilter(self._defaults.tenant_of(tenant), types, start, end)
        return self._call(exchanges.count_violations(wanted), timeout)

    def list_violations(
        self,
        *,
        types: Several[ViolationType | str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 0,
        page_token: str = "",
        newest_first: bool = False,
        tenant: str | None = None,
        timeout: float | None = None,
    ) -> ViolationPage:
        """List violations of a tenant's callers, one by one; for callers who may configure the tenant.

        Args:
            types: the kinds of rule that were broken; all, if there are none.
            start: list from then on; a time without a zone is this machine's.
            end: list what was before then.
            page_size: how many at most, up to 1,000; 0 leaves it to the service.
            page_token: of the page before, to go on behind it, with the same other arguments. To follow what happens,
                ask again and again with the last token.
            newest_first: begin with the newest; such a listing cannot be followed.
            tenant: the tenant whose callers are meant.
            timeout: seconds for the call with all its retries.
        """
        wanted = exchanges.ViolationFilter(self._defaults.tenant_of(tenant), types, start, end)
        exchange = exchanges.list_violations(
            wanted, page_size=page_size, page_token=page_token, newest_first=newest_first
        )
        return self._call(exchange, timeout)

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
        header = exchanges.import_request(
            tenant_id=self._defaults.tenant_of(tenant), collection_id=collection, embedding_model=embedding_model
        )
        session = ImportSession(header, policy=self._defaults.retry_policy, strict=strict)
        deadline = Deadline.after(None) if timeout is None else self._defaults.deadline(timeout)
        stream = ImportStream(self._stub, self._token, deadline)
        return run_import(session, batches_of(documents, Batcher(batch_size)), stream, deadline)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, exchange: Exchange[ResponseT, ResultT], timeout: float | None) -> ResultT:
        deadline = self._defaults.deadline(timeout)
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
