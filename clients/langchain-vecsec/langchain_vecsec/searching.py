"""Searches of what a client's caller may read, in LangChain's words."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from langchain_vecsec.absent import NOTHING_FOUND, AbsentCollection
from langchain_vecsec.diversity import most_diverse
from langchain_vecsec.filters import Filter, condition_of
from langchain_vecsec.identity import Token, revealed
from langchain_vecsec.labels import Label, LabelKeys, Labelling
from langchain_vecsec.rows import documents_found, texts_of, vectors_of
from vecsec_client import AsyncVecSecClient, PermissionDenied, SearchAnswer, Sensitivity, SensitivityWord, VecSecClient

_MOST_ROWS = 1000

Scored = list[tuple[Document, float]]
Query = str | Sequence[float]


class SearchableStore(VectorStore):
    """What of `VecSecVectorStore` a retriever needs."""

    def __init__(
        self,
        client: VecSecClient,
        *,
        async_client: AsyncVecSecClient | None = None,
        embedding: Embeddings | None = None,
        tenant: str | None = None,
        collection: str = "",
        sensitivity: Sensitivity | SensitivityWord | None = None,
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
            embedding: the model that embeds texts and queries here. None lets the services do that, with the model of
                the collection.
            tenant: the tenant; None means the client's default.
            collection: the collection; empty means "documents". It is made when something is first stored.
            sensitivity: of documents whose metadata does not say it.
            topics: of documents whose metadata does not say them.
            readers: who alone may read documents whose metadata does not say it; None for all whom the rules let.
            attributes: further attributes of the label, of documents whose metadata does not say them.
            label_keys: which metadata keys are the label; see `LabelKeys`.
            tell_labels: say the whole label of what is read in its metadata, not only what is not this store's own. For
                documents that go on to another store: under its defaults they might be read by more people.
            allow_mock: take made-up rows for an answer while real retrieval is off or out of reach. Their metadata says
                so (`vecsec_made_up`). Without it that is an error, also where the client was made with it.

        Raises:
            ValueError: naming the part of the label that is wrong.
        """
        self._client = client
        self._async_client = async_client
        self._embedding = embedding
        self._tenant = tenant
        self._collection = collection
        default = Label.of(sensitivity=sensitivity, topics=topics, readers=readers, attributes=attributes or {})
        self._labelling = Labelling(default, label_keys or LabelKeys(), tell_labels)
        self._allow_mock = allow_mock

    @property
    def embeddings(self) -> Embeddings | None:
        """The model that embeds here; None where the services do."""
        return self._embedding

    def with_token(self, token: Token, *, tenant: str | None = None) -> Self:
        """The same store for somebody else, over the same connection; see `VecSecClient.with_token`.

        Raises:
            Unauthenticated: if the token is empty, or nothing that a token can be.
        """
        provider = revealed(token, "token")
        view = copy.copy(self)
        vars(view).update(
            _client=self._client.with_token(provider),
            _async_client=None if self._async_client is None else self._async_client.with_token(provider),
            _tenant=self._tenant if tenant is None else tenant,
        )
        return view

    def similarity_search(self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any) -> list[Document]:
        """The `k` nearest documents (1 to 1,000) that the caller may read, nearest first.

        Args:
            query: what to look for.
            k: how many.
            filter: a condition on metadata: LangChain's dictionaries, or one of `vecsec_client`.
            **kwargs: none; others are refused, for a filter that was misspelt would widen the answer.

        Raises:
            ValueError: for another k, an unknown argument, or a filter that cannot be said.
            VecSecError: if the call failed; `RealRetrievalUnavailable` while real retrieval is off.
        """
        return _documents(self.similarity_search_with_score(query, k, filter, **kwargs))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """See `similarity_search`."""
        return _documents(await self.asimilarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """See `similarity_search`; with cosine similarities, -1 to 1, higher is nearer."""
        question = self._question(k, filter, kwargs)
        return documents_found(self._ask(self._embedded(query), question), self._labelling)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> Scored:
        """See `similarity_search_with_score`."""
        question = self._question(k, filter, kwargs)
        return documents_found(await self._aask(await self._aembedded(query), question), self._labelling)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """See `similarity_search`; `embedding` is of the collection's model."""
        return _documents(documents_found(self._ask(embedding, self._question(k, filter, kwargs)), self._labelling))

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """See `similarity_search_by_vector`."""
        answer = await self._aask(embedding, self._question(k, filter, kwargs))
        return _documents(documents_found(answer, self._labelling))

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Of the `fetch_k` nearest documents, `k` that are unlike one another.

        The documents' vectors are made here, by the store's `embedding`. A store without one has them from the service,
        which gives them only to roles that may configure the tenant; others get `PermissionDenied`.

        Args:
            query: what to look for.
            k: how many.
            fetch_k: of how many, at most 1,000; never fewer than `k`.
            lambda_mult: 1 for nearness alone, 0 for diversity alone.
            filter: see `similarity_search`.
            **kwargs: none.
        """
        candidates = self._candidates(k, fetch_k, lambda_mult, filter, kwargs)
        return self._diverse(self._embedded(query), candidates, k, lambda_mult)

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """See `max_marginal_relevance_search`."""
        candidates = self._candidates(k, fetch_k, lambda_mult, filter, kwargs)
        return await self._adiverse(await self._aembedded(query), candidates, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """See `max_marginal_relevance_search`; `embedding` is of the collection's model."""
        candidates = self._candidates(k, fetch_k, lambda_mult, filter, kwargs)
        return self._diverse(embedding, candidates, k, lambda_mult)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """See `max_marginal_relevance_search_by_vector`."""
        candidates = self._candidates(k, fetch_k, lambda_mult, filter, kwargs)
        return await self._adiverse(embedding, candidates, k, lambda_mult)

    @property
    def _place(self) -> dict[str, Any]:
        return {"tenant": self._tenant, "collection": self._collection}

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Relevance is the cosine similarity; what points away from the query is as little relevant as can be."""
        return lambda score: min(1.0, max(0.0, score))

    def _embedded(self, query: str) -> Query:
        return query if self._embedding is None else self._embedding.embed_query(query)

    async def _aembedded(self, query: str) -> Query:
        return query if self._embedding is None else await self._embedding.aembed_query(query)

    def _question(self, k: int, filter: Filter | None, unknown: Mapping[str, Any]) -> dict[str, Any]:
        if unknown:
            raise ValueError(
                f"unknown argument {', '.join(unknown)}: a search takes k and filter, MMR fetch_k and lambda_mult"
            )
        return {
            "k": _count("k", k),
            "filter": condition_of(filter, self._labelling.keys.names()),
            "allow_mock": self._allow_mock,
            "mode": "vector",  # scores are similarities here: of thresholds, of relevance, of diversity
        } | self._place

    def _ask(self, query: Query, question: dict[str, Any]) -> SearchAnswer:
        with AbsentCollection():
            return self._client.search(query, **question)
        return NOTHING_FOUND

    async def _aask(self, query: Query, question: dict[str, Any]) -> SearchAnswer:
        if self._async_client is None:
            return await run_in_executor(None, self._ask, query, question)
        with AbsentCollection():
            return await self._async_client.search(query, **question)
        return NOTHING_FOUND

    def _candidates(
        self, k: int, fetch_k: int, lambda_mult: float, filter: Filter | None, unknown: Mapping[str, Any]
    ) -> dict[str, Any]:
        if not 0 <= lambda_mult <= 1:
            raise ValueError(f"lambda_mult: must be 0 to 1, not {lambda_mult}")
        question = self._question(max(_count("k", k), _count("fetch_k", fetch_k)), filter, unknown)
        return question | {"include_embeddings": self._embedding is None}

    def _diverse(self, query: Query, candidates: dict[str, Any], k: int, lambda_mult: float) -> list[Document]:
        with _explained(self._embedding):
            answer = self._ask(query, candidates)
        if not answer.results:
            return []
        vectors = self._embedding.embed_documents(texts_of(answer)) if self._embedding else vectors_of(answer)
        return self._chosen(answer, vectors, k, lambda_mult)

    async def _adiverse(self, query: Query, candidates: dict[str, Any], k: int, lambda_mult: float) -> list[Document]:
        with _explained(self._embedding):
            answer = await self._aask(query, candidates)
        if not answer.results:
            return []
        vectors = await self._embedding.aembed_documents(texts_of(answer)) if self._embedding else vectors_of(answer)
        return self._chosen(answer, vectors, k, lambda_mult)

    def _chosen(
        self, answer: SearchAnswer, vectors: Sequence[Sequence[float]], k: int, lambda_mult: float
    ) -> list[Document]:
        found = _documents(documents_found(answer, self._labelling))
        scores = [row.score for row in answer.results]
        return [found[position] for position in most_diverse(scores, vectors, k, lambda_mult)]


@contextmanager
def _explained(embedding: Embeddings | None) -> Iterator[None]:
    """Say of a refusal why MMR asked for embeddings at all."""
    try:
        yield
    except PermissionDenied as refused:
        if embedding is None:
            refused.add_note("MMR asks for embeddings where the store has no `embedding` of its own; give it one")
        raise


def _documents(scored: Scored) -> list[Document]:
    return [document for document, _ in scored]


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_ROWS:
        raise ValueError(f"{name}: must be 1 to {_MOST_ROWS:,}, not {str(value)[:80]}")
    return value
