"""The nearest documents among those that a grant makes visible."""

from collections.abc import Sequence
from dataclasses import replace

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.answer_size import refuse_oversized_answer
from vecsec_retrieval.model.cache_scope import CacheScope
from vecsec_retrieval.model.embeddings import EmbeddingCache
from vecsec_retrieval.model.filters import refuse_oversized, refuse_unknown_keys
from vecsec_retrieval.model.rows import ScoredDocument, Vector, direction
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_search import NOTHING_VISIBLE
from vecsec_retrieval.use_cases.documents import with_embeddings
from vecsec_retrieval.use_cases.permissions import Permissions, refuse_unseen
from vecsec_retrieval.visibility.residuals import Visibility


class DocumentSearch:
    """The use case."""

    def __init__(
        self,
        permissions: Permissions,
        cells: OpenCells,
        embeddings: EmbeddingCache,
        metrics: RetrievalMetrics,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._permissions = permissions
        self._cells = cells
        self._embeddings = embeddings
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    async def search(
        self, token: str, collection_id: str, order: SearchOrder[str | Vector], *, include_embeddings: bool
    ) -> SearchAnswer:
        """The k most similar visible documents.

        Raises:
            InvalidGrant, AccessDenied, RealRetrievalOff: if the caller may not read, or not so.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            InvalidRequest: naming the field of the query or filter that does not fit what the caller sees.
            LimitExceeded: if the documents are larger together than an answer may be.
        """
        grant = await self._permissions.require_reading(token, embeddings=include_embeddings)
        if order.metadata is not None:
            refuse_oversized(order.metadata)
        visibility = self._permissions.visibility(grant)
        async with self._cells.lease(grant.tenant_id) as cell:
            collection = None if cell is None else await cell.collection(collection_id)
            answer = None if collection is None else await self._search_in(collection, order, visibility)
            if collection is not None and answer is not None and include_embeddings:
                answer = replace(answer, results=await _with_embeddings(collection, answer.results, visibility))
        if answer is None:
            refuse_unseen(collection_id)
            answer = SearchAnswer((), NOTHING_VISIBLE)
        refuse_oversized_answer([result.document for result in answer.results], self._max_answer_bytes)
        self._metrics.count_search(answer.strategy, answer.filtered_rows)
        annotate_span(strategy=answer.strategy, result_count=len(answer.results), filtered_count=answer.filtered_rows)
        # How an answer was found tells whether hidden rows were in the way.
        return answer if grant.may_configure else SearchAnswer(answer.results, "", answer.filtered_rows)

    async def _search_in(
        self, collection: OpenCollection, order: SearchOrder[str | Vector], visibility: Visibility
    ) -> SearchAnswer | None:
        """What the caller finds; None if the caller sees nothing at all in the collection.

        Whether it does is asked only where the answer depends on it: in large collections that takes a store long.
        """
        reader = await collection.reader_after_quick_load()
        try:
            if order.metadata is not None:
                refuse_unknown_keys(order.metadata, await reader.metadata_keys(visibility))
            vector = await self._vector(collection, order.query, visibility.cache_scope)
        except InvalidRequest:
            if not await reader.has_visible(visibility):
                return None  # what does not fit would tell of a collection that is hidden
            raise
        answer = await reader.search(SearchOrder(vector, order.k, order.metadata), visibility)
        if not answer.results and not await reader.has_visible(visibility):
            return None
        return answer

    async def _vector(self, collection: OpenCollection, query: str | Vector, cache_scope: CacheScope) -> Vector:
        if isinstance(query, str):
            vector = await self._embeddings.embed_query(cache_scope, collection.info.embedding_model, query)
            if not vector.any():
                raise InvalidRequest.of("query.text", "holds nothing that the collection's model knows")
            return vector
        dimensions = collection.info.dimensions
        if len(query) != dimensions:
            raise InvalidRequest.of(
                "query.vector.values", f"has {len(query)} numbers; this collection's embeddings have {dimensions}"
            )
        vector = direction(query)
        if not vector.any():
            raise InvalidRequest.of("query.vector.values", "must not be all zero: cosine similarity needs a direction")
        return vector


async def _with_embeddings(
    collection: OpenCollection, results: Sequence[ScoredDocument], visibility: Visibility
) -> list[ScoredDocument]:
    documents = await with_embeddings(collection, [result.document for result in results], visibility)
    score_of = {result.document.document_id: result.score for result in results}
    return [ScoredDocument(document, score_of[document.document_id]) for document in documents]
