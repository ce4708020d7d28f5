"""The vector store: what a client's caller may read, write and delete, in LangChain's words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from langchain_vecsec.absent import AbsentCollection
from langchain_vecsec.retriever import VecSecRetriever
from langchain_vecsec.rows import document, ids_of, inputs
from langchain_vecsec.searching import SearchableStore
from vecsec_client import DocumentInput, VecSecClient

_MOST_AT_A_TIME = 1000


class VecSecVectorStore(SearchableStore):
    """A collection of a tenant, as the client's caller may use it.

        with VecSecClient("localhost:50051", token=token_from_environment(), default_tenant="tenant_a") as client:
            store = VecSecVectorStore(client, sensitivity="INTERNAL", topics=["rag"])
            store.add_texts(["How passages are ranked."])
            store.similarity_search("ranking", k=3)

    Servers whose requests have users of their own give each its view (`with_token`), or use a retriever. Its methods
    raise `vecsec_client.VecSecError`, in the subclass for the kind of failure, and `ValueError` for what VecSec has no
    words for. It may be shared between threads and tasks.
    """

    def as_retriever(self, **kwargs: Any) -> VecSecRetriever:
        """A retriever, which asks in the name of who is named by the run's configuration; see `VecSecRetriever`.

        Args:
            **kwargs: `k`, `search_type`, `search_kwargs`, `token`, `tenant`, `tags` and `metadata` of the retriever.
        """
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return VecSecRetriever(vectorstore=self, tags=tags, **kwargs)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = _MOST_AT_A_TIME,
        **kwargs: Any,
    ) -> list[str]:
        """Store documents; those that have the same ids are replaced whole.

        The label of each comes from its metadata (`sensitivity`, `topics`, `readers`, `attributes`), else from the
        store.

        Args:
            texts: the passages, none blank.
            metadatas: for each text a dictionary of texts, numbers and booleans.
            ids: for each text its id; where there is none, one is made.
            batch_size: how many travel and become durable together; never more than 1,000, or 4 MiB.
            **kwargs: none; others are refused.

        Returns:
            The ids, in the order of the texts.

        Raises:
            ValueError: naming what cannot be kept, before anything is stored.
            DocumentsRejected: naming the document and field that the services refuse. Nothing of its batch and of later
                ones is stored; earlier ones are.
            VecSecError: if the call failed.
        """
        known, contents, described = _given(texts, metadatas, ids, kwargs)
        vectors = self._embedding.embed_documents(contents) if self._embedding and contents else []
        self._store(inputs(known, contents, described, vectors, self._labelling), batch_size)
        return known

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = _MOST_AT_A_TIME,
        **kwargs: Any,
    ) -> list[str]:
        """See `add_texts`."""
        known, contents, described = _given(texts, metadatas, ids, kwargs)
        vectors = await self._embedding.aembed_documents(contents) if self._embedding and contents else []
        documents = inputs(known, contents, described, vectors, self._labelling)
        if self._async_client is None:
            await run_in_executor(None, self._store, documents, batch_size)
            return known
        await self._async_client.import_documents(documents, **self._importing(batch_size))
        return known

    def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents; those that do not exist or may not be deleted are left out alike.

        Returns:
            True: none of them is left that the caller may delete.

        Raises:
            ValueError: without ids; VecSec deletes no collection at one stroke.
            VecSecError: if the call failed; `PermissionDenied` for callers who may delete nothing.
        """
        with AbsentCollection():
            for some in _pages(_named(ids, kwargs)):
                self._client.delete_documents(some, **self._place)
        return True

    async def adelete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """See `delete`."""
        if self._async_client is None:
            return await run_in_executor(None, self.delete, ids, **kwargs)
        with AbsentCollection():
            for some in _pages(_named(ids, kwargs)):
                await self._async_client.delete_documents(some, **self._place)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids; those that do not exist or may not be read are left out alike.

        Raises:
            VecSecError: if the call failed.
        """
        with AbsentCollection():
            answers = [self._client.get_documents(some, **self._place) for some in _pages(ids)]
            return [document(row, self._labelling) for answer in answers for row in answer.documents]
        return []

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """See `get_by_ids`."""
        if self._async_client is None:
            return await run_in_executor(None, self.get_by_ids, ids)
        with AbsentCollection():
            answers = [await self._async_client.get_documents(some, **self._place) for some in _pages(ids)]
            return [document(row, self._labelling) for answer in answers for row in answer.documents]
        return []

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        client: VecSecClient | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store with these documents in it.

        Args:
            texts: see `add_texts`.
            embedding: see `__init__`.
            metadatas: see `add_texts`.
            ids: see `add_texts`.
            client: see `__init__`; needed.
            **kwargs: what else `__init__` takes.

        Raises:
            ValueError: without a client, and as `add_texts`.
            VecSecError: as `add_texts`.
        """
        store = cls(_needed(client), embedding=embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        client: VecSecClient | None = None,
        **kwargs: Any,
    ) -> Self:
        """See `from_texts`."""
        store = cls(_needed(client), embedding=embedding, **kwargs)
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store

    def _store(self, documents: Sequence[DocumentInput], batch_size: int) -> None:
        self._client.import_documents(documents, **self._importing(batch_size))

    def _importing(self, batch_size: int) -> dict[str, Any]:
        return {**self._place, "batch_size": min(batch_size, _MOST_AT_A_TIME), "strict": True}


def _given(
    texts: Iterable[str],
    metadatas: Sequence[Mapping[str, Any]] | None,
    ids: Sequence[str | None] | None,
    unknown: Mapping[str, Any],
) -> tuple[list[str], list[str], Sequence[Mapping[str, Any]]]:
    """Ids, texts and metadata of documents, as many of each."""
    if unknown:
        raise ValueError(f"unknown argument {', '.join(unknown)}: documents are added with texts, metadatas and ids")
    if isinstance(texts, str):
        raise ValueError("texts: must be a list of texts, not one text")
    contents = list(texts)
    described = [{}] * len(contents) if metadatas is None else metadatas
    if len(described) != len(contents):
        raise ValueError(f"metadatas: {len(described)} for {len(contents)} texts; give one for each, or none")
    return ids_of([None] * len(contents) if ids is None else ids, len(contents)), contents, described


def _named(ids: Sequence[str] | None, unknown: Mapping[str, Any]) -> Sequence[str]:
    if unknown:
        raise ValueError(f"unknown argument {', '.join(unknown)}: documents are deleted by their ids alone")
    if ids is None:
        raise ValueError("ids: name the documents to delete; VecSec deletes no collection at one stroke")
    return ids


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    if isinstance(ids, str):
        raise ValueError(f"ids: must be a list, not the one text {ids[:80]!r}")
    for start in range(0, len(ids), _MOST_AT_A_TIME):
        yield ids[start : start + _MOST_AT_A_TIME]


def _needed(client: VecSecClient | None) -> VecSecClient:
    if client is None:
        raise ValueError("client: give a vecsec_client.VecSecClient, which says where the gateway is and who asks")
    return client
