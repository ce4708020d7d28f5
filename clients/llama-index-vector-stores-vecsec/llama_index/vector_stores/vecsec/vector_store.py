"""The vector store: what a client's caller may read, write and delete, in LlamaIndex's words."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr, SecretStr

from llama_index.vector_stores.vecsec.filters import condition_of
from llama_index.vector_stores.vecsec.nodes import REF_DOC_KEY, inputs, node_of, nodes_found
from vecsec_client import (
    AsyncVecSecClient,
    Document,
    InvalidArgument,
    Sensitivity,
    VecSecClient,
    all_of,
    equals,
)
from vecsec_client.frameworks.collection import StoredCollection, asks_for_unknown_key
from vecsec_client.frameworks.conditions import holds, one_of
from vecsec_client.frameworks.identity import revealed
from vecsec_client.frameworks.labels import Label, LabelKeys, Labelling
from vecsec_client.frameworks.steps import Clients, Steps
from vecsec_client.frameworks.values import row_count

_logger = logging.getLogger(__name__)

_OF_OTHER_MODES = ("alpha", "sparse_top_k", "hybrid_top_k", "mmr_threshold", "output_fields", "embedding_field")


class VecSecVectorStore(BasePydanticVectorStore):
    """A collection of a tenant, as the client's caller may use it.

        with VecSecClient("localhost:50051", token=None, default_tenant="tenant_a") as client:
            store = VecSecVectorStore(client, collection="notes")
            index = VectorStoreIndex.from_vector_store(
                store.with_token(token_of_the_user), embed_model=MockEmbedding(embed_dim=1)
            )
            index.as_retriever(similarity_top_k=3).retrieve("how do we rank?")

    Its methods raise `vecsec_client.VecSecError`, in the subclass for the kind of failure, and `ValueError` for what
    VecSec has no words for. It may be shared between threads and tasks.
    """

    stores_text: bool = True
    is_embedding_query: bool = False

    _clients: Clients = PrivateAttr()
    _collection: StoredCollection = PrivateAttr()
    _labelling: Labelling = PrivateAttr()
    _allow_mock: bool = PrivateAttr()

    def __init__(
        self,
        client: VecSecClient,
        *,
        async_client: AsyncVecSecClient | None = None,
        embeds_here: bool = False,
        tenant: str | None = None,
        collection: str = "",
        sensitivity: Sensitivity | str | None = None,
        topics: Sequence[str] = (),
        readers: Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        label_keys: LabelKeys | None = None,
        tell_labels: bool = False,
        allow_mock: bool = False,
    ) -> None:
        """Prepare it; nothing is called.

        Args:
            client: speaks with the gateway, in its caller's name. Who closes it is who made it.
            async_client: for the asynchronous methods, in the same caller's name; without it they use threads.
            embeds_here: store the nodes' embeddings, and search by the index's `embed_model`. Otherwise the services
                embed texts and queries with the model of the collection, and the embeddings that an index makes are
                left out: give it `MockEmbedding(embed_dim=1)`.
            tenant: the tenant; None means the client's default.
            collection: the collection; empty means "documents". It is made when something is first stored.
            sensitivity: of nodes whose metadata does not say it.
            topics: of nodes whose metadata does not say them.
            readers: who alone may read nodes whose metadata does not say it; None for all whom the rules let.
            attributes: further attributes of the label, of nodes whose metadata does not say them.
            label_keys: which metadata keys are the label; see `LabelKeys`.
            tell_labels: say the whole label of what is read in its metadata, not only what is not this store's own.
            allow_mock: take made-up rows for an answer while real retrieval is off or out of reach. Their metadata says
                so (`vecsec_made_up`). Without it, that is an error.

        Raises:
            ValueError: naming the part of the label that is wrong.
        """
        super().__init__(stores_text=True, is_embedding_query=embeds_here)
        self._clients = Clients(client, async_client)
        self._collection = StoredCollection(_logger, tenant, collection)
        default = Label.of(sensitivity=sensitivity, topics=topics, readers=readers, attributes=attributes or {})
        self._labelling = Labelling(default, label_keys or LabelKeys(), tell_labels)
        self._allow_mock = allow_mock

    @classmethod
    def class_name(cls) -> str:
        """The name by which LlamaIndex writes it down."""
        return "VecSecVectorStore"

    @property
    def client(self) -> VecSecClient:
        """The client of ordinary code."""
        return self._clients.blocking

    def with_token(self, token: str | SecretStr | Callable[[], Any], *, tenant: str | None = None) -> Self:
        """The same store for somebody else, over the same connection; see `VecSecClient.with_token`.

        Raises:
            Unauthenticated: if the token is empty, or nothing that a token can be.
        """
        view = self.model_copy()
        view._clients = self._clients.with_token(revealed(token, "token"))  # noqa: SLF001 (of the same class)
        view._collection = self._collection.of_tenant(tenant)  # noqa: SLF001
        return view

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nearest nodes that the caller may read, with cosine similarities (-1 to 1), nearest first.

        Args:
            query: in the mode "default", with `query_str` or, for a store that embeds here, `query_embedding`;
                `similarity_top_k` is 1 to 1,000.
            **kwargs: none; others are refused, for a filter that was misspelt would widen the answer.

        Raises:
            ValueError: for another mode or number, an unknown argument, or a filter that cannot be said.
            VecSecError: if the call failed; `Unavailable` while real retrieval is off.
        """
        return self._clients.carry_out(self._query(query, kwargs))

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """See `query`."""
        return await self._clients.carry_out_async(self._query(query, kwargs))

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes; those that have the same ids are replaced whole.

        The label of each comes from its metadata (`sensitivity`, `topics`, `readers`, `attributes`), else from the
        store.

        Returns:
            The ids, in the order of the nodes.

        Raises:
            ValueError: naming what cannot be kept, before anything is stored.
            DocumentsRejected: naming the node and field that the services refuse. Nothing of its batch of 1,000, and of
                later ones, is stored.
            VecSecError: if the call failed.
        """
        return self._clients.carry_out(self._add(nodes, kwargs))

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """See `add`."""
        return await self._clients.carry_out_async(self._add(nodes, kwargs))

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document, as far as the caller may read and delete them; a warning says if some stay.

        Raises:
            VecSecError: if the call failed.
        """
        self._clients.carry_out(self._delete(ref_doc_id, delete_kwargs))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """See `delete`."""
        await self._clients.carry_out_async(self._delete(ref_doc_id, delete_kwargs))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, by filter, or those of the ids that meet the filter.

        Raises:
            ValueError: if neither is given, or for a filter that cannot be said.
            VecSecError: if the call failed.
        """
        self._clients.carry_out(self._delete_nodes(node_ids, filters, delete_kwargs))

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """See `delete_nodes`."""
        await self._clients.carry_out_async(self._delete_nodes(node_ids, filters, delete_kwargs))

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """The nodes of these ids that meet the filter and that the caller may read; all, if neither is given.

        Raises:
            ValueError: for a filter that cannot be said.
            VecSecError: if the call failed.
        """
        return self._clients.carry_out(self._get_nodes(node_ids, filters))

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """See `get_nodes`."""
        return await self._clients.carry_out_async(self._get_nodes(node_ids, filters))

    def clear(self) -> None:
        """Refused.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "VecSec deletes no collection at one stroke; name the nodes: delete_nodes, or delete by ref_doc_id"
        )

    async def aclear(self) -> None:
        """See `clear`."""
        self.clear()

    def _query(self, query: VectorStoreQuery, unknown: Mapping[str, Any]) -> Steps[VectorStoreQueryResult]:
        _refuse("a query takes a VectorStoreQuery", unknown)
        k = row_count("similarity_top_k", query.similarity_top_k)
        question = self._question(query)
        conditions = [condition_of(query.filters, self._labelling.keys.names())]
        if query.doc_ids is not None:
            conditions.append(one_of(REF_DOC_KEY, "doc_ids", query.doc_ids))
        parts = [each for each in conditions if each is not None]
        condition = all_of(*parts) if len(parts) > 1 else next(iter(parts), None)
        answer = yield from self._collection.search(question, k=k, condition=condition, allow_mock=self._allow_mock)
        return VectorStoreQueryResult(
            nodes=nodes_found(answer, self._labelling),
            similarities=[row.score for row in answer.results],
            ids=[row.document_id for row in answer.results],
        )

    def _question(self, query: VectorStoreQuery) -> str | Sequence[float]:
        if query.mode != VectorStoreQueryMode.DEFAULT:
            mode = VectorStoreQueryMode(query.mode).value
            raise ValueError(f"mode: {mode} cannot be served, only default: the nearest rows by cosine")
        for name in _OF_OTHER_MODES:
            if getattr(query, name) is not None:
                raise ValueError(f"{name}: belongs to modes that cannot be served; leave it out")
        if query.node_ids:
            raise ValueError(
                "node_ids: a search cannot be held to nodes; use filters or doc_ids, or read them with get_nodes"
            )
        wanted = "query_embedding" if self.is_embedding_query else "query_str"
        question: str | Sequence[float] | None = getattr(query, wanted)
        if question is None:
            who = "embeds here" if self.is_embedding_query else "has the services embed (see embeds_here)"
            raise ValueError(f"{wanted}: is missing, and this store {who}")
        return question

    def _add(self, nodes: Sequence[BaseNode], unknown: Mapping[str, Any]) -> Steps[list[str]]:
        _refuse("nodes are added with nodes alone", unknown)
        yield from self._collection.store(inputs(nodes, self._labelling, with_embeddings=self.is_embedding_query))
        return [node.node_id for node in nodes]

    def _delete(self, ref_doc_id: str, unknown: Mapping[str, Any]) -> Steps[None]:
        _refuse("a document is deleted by its ref_doc_id alone", unknown)
        try:
            rows = yield from self._collection.read_matching(equals(REF_DOC_KEY, ref_doc_id))
        except InvalidArgument as error:
            if asks_for_unknown_key(error):
                return
            raise
        yield from self._delete_rows(rows, f"document {ref_doc_id!r}")

    def _delete_nodes(
        self, node_ids: list[str] | None, filters: MetadataFilters | None, unknown: Mapping[str, Any]
    ) -> Steps[None]:
        _refuse("nodes are deleted by node_ids and filters", unknown)
        if node_ids is None and filters is None:
            raise ValueError("node_ids, filters: name the nodes to delete; VecSec deletes no collection at one stroke")
        if filters is None:
            yield from self._collection.delete(node_ids or [])
        else:
            rows = yield from self._rows(node_ids, filters)
            yield from self._delete_rows(rows, "filters")

    def _get_nodes(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> Steps[list[BaseNode]]:
        rows = yield from self._rows(node_ids, filters)
        return [node_of(row, self._labelling) for row in rows]

    def _rows(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> Steps[list[Document]]:
        condition = condition_of(filters, self._labelling.keys.names())
        if node_ids is not None:
            rows = yield from self._collection.read(node_ids)
            return [row for row in rows if condition is None or holds(condition, row.metadata, row.text)]
        if condition is not None:
            return (yield from self._collection.read_matching(condition))
        return (yield from self._collection.read_all())

    def _delete_rows(self, rows: Sequence[Document], what: str) -> Steps[None]:
        deleted = yield from self._collection.delete([row.document_id for row in rows])
        if deleted < len(rows):
            _logger.warning(
                "%s: of %d nodes %d were deleted: the caller may not delete the others, or they were gone",
                what,
                len(rows),
                deleted,
            )


def _refuse(takes: str, unknown: Mapping[str, Any]) -> None:
    if unknown:
        raise ValueError(f"unknown argument {', '.join(unknown)}: {takes}")
