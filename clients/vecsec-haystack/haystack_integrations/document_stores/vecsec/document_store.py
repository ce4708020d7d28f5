"""The document store: what a caller may read, write and delete, in Haystack's words."""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Self

from haystack import default_from_dict, default_to_dict
from haystack.dataclasses import Document as HaystackDocument
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret
from haystack.utils.filters import document_matches_filter

from haystack_integrations.document_stores.vecsec.connecting import connected
from haystack_integrations.document_stores.vecsec.documents import (
    document_of,
    documents_found,
    inputs,
    refuse_duplicates,
    refuse_no_documents,
)
from haystack_integrations.document_stores.vecsec.filters import UnsaidFilterError, condition_of, refuse_labels
from haystack_integrations.document_stores.vecsec.tokens import Token, provider_of
from vecsec_client import InvalidArgument, Sensitivity
from vecsec_client.frameworks.collection import StoredCollection, asks_for_unknown_key
from vecsec_client.frameworks.labels import Label, LabelKeys, Labelling
from vecsec_client.frameworks.steps import Steps
from vecsec_client.frameworks.values import row_count

_logger = logging.getLogger(__name__)

_FROM_ENVIRONMENT = Secret.from_env_var("VECSEC_TOKEN")


class VecSecDocumentStore:
    """A collection of a tenant, as its caller may use it.

        store = VecSecDocumentStore("localhost:50051", tenant="tenant_a", sensitivity="INTERNAL", topics=["rag"])
        store.write_documents([Document(content="How passages are ranked.")])

    Retrievers never ask in the name of the store's own caller: see `VecSecTextRetriever`. Its methods raise
    `vecsec_client.VecSecError`, in the subclass for the kind of failure, and `ValueError` for what VecSec has no words
    for. It may be shared between threads and tasks.
    """

    def __init__(
        self,
        address: str,
        *,
        token: Secret | None = _FROM_ENVIRONMENT,
        tenant: str | None = None,
        collection: str = "",
        sensitivity: Sensitivity | str | None = None,
        topics: Sequence[str] = (),
        readers: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        label_keys: LabelKeys | None = None,
        tell_labels: bool = False,
        allow_mock: bool = False,
        timeout: float | None = 30.0,
        root_certificates: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
        plaintext: bool | None = None,
    ) -> None:
        """Prepare a connection; it is made at the first call.

        Args:
            address: `host:port` of the gateway.
            token: of who writes, counts and deletes with this store; that of the environment's VECSEC_TOKEN, looked up
                at each call. None for a store that only lends its connection, to retrievers and views.
            tenant: the tenant to use.
            collection: the collection; empty means "documents". It is made when something is first stored.
            sensitivity: of documents whose metadata does not say it.
            topics: of documents whose metadata does not say them.
            readers: who alone may read documents whose metadata does not say it; None for all whom the rules let.
            attributes: further attributes of the label, of documents whose metadata does not say them.
            label_keys: which metadata keys are the label; see `LabelKeys`.
            tell_labels: say the whole label of what is read in its metadata, not only what is not this store's own.
            allow_mock: take made-up rows for an answer while real retrieval is off or out of reach. Their metadata says
                so (`vecsec_made_up`). Without it, that is an error.
            timeout: seconds for a call with all its retries; None waits for ever.
            root_certificates: a file of certificates (PEM) to trust instead of the usual ones.
            client_certificate: a file with a certificate (PEM) to show to a gateway that asks its callers for one.
            client_key: a file with its private key (PEM).
            plaintext: whether to do without encryption; by default only for a gateway on this machine.

        Raises:
            ValueError: naming the part of the label that is wrong; for certificates that do not fit together.
            OSError: if a file cannot be read.
        """
        self._token = token
        self._settings = {
            "address": address,
            "tenant": tenant,
            "collection": collection,
            "sensitivity": None if sensitivity is None else str(sensitivity),
            "topics": list(topics) if isinstance(topics, tuple | list) else topics,
            "readers": list(readers) if isinstance(readers, tuple | list) else readers,
            "attributes": None if attributes is None else dict(attributes),
            "tell_labels": tell_labels,
            "allow_mock": allow_mock,
            "timeout": timeout,
            "root_certificates": root_certificates,
            "client_certificate": client_certificate,
            "client_key": client_key,
            "plaintext": plaintext,
        }
        self._clients = connected(token, self._settings)
        self._collection = StoredCollection(_logger, tenant, collection)
        default = Label.of(sensitivity=sensitivity, topics=topics, readers=readers, attributes=attributes or {})
        self._labelling = Labelling(default, label_keys or LabelKeys(), tell_labels)
        self._allow_mock = allow_mock

    def to_dict(self) -> dict[str, Any]:
        """The store as Haystack writes it down; of its token that it has, never the token.

        Raises:
            ValueError: for a token that is no variable of the environment.
        """
        token = None if self._token is None else self._token.to_dict()
        return default_to_dict(
            self, token=token, label_keys=self._labelling.keys.by_part(), **copy.deepcopy(self._settings)
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The store that was written down."""
        given = dict(data["init_parameters"])
        if isinstance(given.get("token"), dict):
            given["token"] = Secret.from_dict(given["token"])
        if isinstance(given.get("label_keys"), dict):
            given["label_keys"] = LabelKeys(**given["label_keys"])
        return default_from_dict(cls, {**data, "init_parameters": given})

    def with_token(self, token: Token, *, tenant: str | None = None) -> Self:
        """The same store for somebody else, over the same connection. Written down, it has no token.

        Raises:
            Unauthenticated: if the token is empty, or nothing that a token can be.
        """
        view = copy.copy(self)
        vars(view).update(
            _token=None,
            _settings=self._settings if tenant is None else {**self._settings, "tenant": tenant},
            _clients=self._clients.with_token(provider_of(token)),
            _collection=self._collection.of_tenant(tenant),
        )
        return view

    def close(self) -> None:
        """Close the connection of ordinary code."""
        self._clients.blocking.close()

    async def close_async(self) -> None:
        """Close both connections."""
        self.close()
        if self._clients.asynchronous is not None:
            await self._clients.asynchronous.close()

    def count_documents(self) -> int:
        """How many documents the caller may read.

        Raises:
            VecSecError: if the call failed.
        """
        return self._clients.carry_out(self._collection.count())

    async def count_documents_async(self) -> int:
        """See `count_documents`."""
        return await self._clients.carry_out_async(self._collection.count())

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        """How many documents `filter_documents` finds."""
        return len(self.filter_documents(filters))

    async def count_documents_by_filter_async(self, filters: dict[str, Any]) -> int:
        """See `count_documents_by_filter`."""
        return len(await self.filter_documents_async(filters))

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[HaystackDocument]:
        """The documents that meet the filters and that the caller may read, all if there are none; without embeddings.

        All of Haystack's filters are understood. Those that VecSec has no conditions for (`!=`, `not in`, `NOT`, dates
        as texts) have the whole collection read and are decided here, as Haystack decides them.

        Raises:
            FilterError: for what is no filter.
            ValueError: for a filter on labels.
            VecSecError: if the call failed.
        """
        return self._clients.carry_out(self._filter(filters))

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[HaystackDocument]:
        """See `filter_documents`."""
        return await self._clients.carry_out_async(self._filter(filters))

    def write_documents(self, documents: list[HaystackDocument], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Store documents, with their embeddings if they have some; otherwise the services embed them.

        The label of each comes from its metadata (`sensitivity`, `topics`, `readers`, `attributes`), else from the
        store.

        Args:
            documents: with texts, none blank.
            policy: what to do about ids that are there: NONE and FAIL raise, SKIP leaves them out, OVERWRITE replaces
                them whole. For all but OVERWRITE is looked first: what others write in between, and documents that the
                caller may not read, are not seen.

        Returns:
            How many were written.

        Raises:
            ValueError: naming what cannot be kept, before anything is stored.
            DuplicateDocumentError: naming the ids, before anything is stored.
            DocumentsRejected: naming the document and field that the services refuse. Nothing of its batch of 1,000,
                and of later ones, is stored.
            VecSecError: if the call failed.
        """
        return self._clients.carry_out(self._write(documents, policy))

    async def write_documents_async(
        self, documents: list[HaystackDocument], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """See `write_documents`."""
        return await self._clients.carry_out_async(self._write(documents, policy))

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; those that do not exist or may not be deleted are left out alike.

        Raises:
            VecSecError: if the call failed.
        """
        self._clients.carry_out(self._collection.delete(document_ids))

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """See `delete_documents`."""
        await self._clients.carry_out_async(self._collection.delete(document_ids))

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete what `filter_documents` finds, as far as the caller may delete it; how many these were.

        Raises:
            ValueError: for no filters: VecSec deletes no collection at one stroke.
            VecSecError: if the call failed.
        """
        return self._clients.carry_out(self._delete_matching(filters))

    async def delete_by_filter_async(self, filters: dict[str, Any]) -> int:
        """See `delete_by_filter`."""
        return await self._clients.carry_out_async(self._delete_matching(filters))

    def search(
        self, query: str | Sequence[float], filters: Mapping[str, Any] | None, top_k: int
    ) -> list[HaystackDocument]:
        """The nearest documents that the store's caller may read, with cosine similarities (-1 to 1) as scores.

        Retrievers call it, for a view of their run's caller.

        Args:
            query: a text, or a vector of the collection's own model.
            filters: a condition on metadata; None and `{}` for none.
            top_k: how many, 1 to 1,000.

        Raises:
            ValueError: for another number, or a filter that cannot be said.
            VecSecError: if the call failed; `Unavailable` while real retrieval is off.
        """
        return self._clients.carry_out(self._search(query, filters, top_k))

    async def search_async(
        self, query: str | Sequence[float], filters: Mapping[str, Any] | None, top_k: int
    ) -> list[HaystackDocument]:
        """See `search`."""
        return await self._clients.carry_out_async(self._search(query, filters, top_k))

    def _search(
        self, query: str | Sequence[float], filters: Mapping[str, Any] | None, top_k: int
    ) -> Steps[list[HaystackDocument]]:
        k = row_count("top_k", top_k)
        condition = condition_of(filters, self._labelling.keys.names())
        answer = yield from self._collection.search(query, k=k, condition=condition, allow_mock=self._allow_mock)
        return documents_found(answer, self._labelling)

    def _filter(self, filters: dict[str, Any] | None) -> Steps[list[HaystackDocument]]:
        names = self._labelling.keys.names()
        refuse_labels(filters, names)
        try:
            condition = condition_of(filters, names)
            if condition is not None:
                rows = yield from self._collection.read_matching(condition)
                return [document_of(row, self._labelling) for row in rows]
        except UnsaidFilterError:
            pass  # decided here
        except InvalidArgument as error:
            if not asks_for_unknown_key(error):
                raise
        rows = yield from self._collection.read_all()
        documents = [document_of(row, self._labelling) for row in rows]
        return [each for each in documents if document_matches_filter(filters, each)] if filters else documents

    def _write(self, documents: list[HaystackDocument], policy: DuplicatePolicy) -> Steps[int]:
        refuse_no_documents(documents)
        by_id = {each.id: each for each in (documents if policy is DuplicatePolicy.OVERWRITE else reversed(documents))}
        wanted = inputs(list(by_id.values()), self._labelling)
        if policy is DuplicatePolicy.OVERWRITE:
            yield from self._collection.store(wanted)
            return len(documents)
        rows = yield from self._collection.read(list(by_id))
        there = {row.document_id for row in rows}
        if policy is not DuplicatePolicy.SKIP:
            refuse_duplicates(documents, there)
        new = [each for each in wanted if each.document_id not in there]
        yield from self._collection.store(new)
        return len(new)

    def _delete_matching(self, filters: dict[str, Any]) -> Steps[int]:
        if not filters:
            raise ValueError("filters: name the documents to delete; VecSec deletes no collection at one stroke")
        found = yield from self._filter(filters)
        return (yield from self._collection.delete([each.id for each in found]))
