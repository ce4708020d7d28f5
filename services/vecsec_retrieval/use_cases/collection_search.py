"""Searches in one collection, once it is known that the caller may see something of it: alone or many at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.model.embeddings import EmbeddingModels, direction
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.model.rows import Document, ScoredDocument, Vector
from vecsec_retrieval.search.known_keys import refuse_misspelt
from vecsec_retrieval.search.reader import CollectionReader, SearchAnswer, SearchOrder
from vecsec_retrieval.search.shaping import Shape, shaped
from vecsec_retrieval.use_cases.found_nothing import refuse_senseless
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.words import TextQuery

Query = TypeVar("Query", bound=str | Vector)


@dataclass(frozen=True, slots=True)
class SearchWanted(Generic[Query]):
    """A query as a caller sends it: what to look for, and what is to be made of it."""

    query: Query
    k: int
    metadata: MetadataFilter | None = None
    shape: Shape = field(default_factory=Shape)
    mode: SearchMode = SearchMode.AUTO
    words: TextQuery | None = None
    """Those of a text, where the mode looks for words."""

    @property
    def depth(self) -> int:
        """How many rows are ranked for it."""
        return self.k + self.shape.offset


class CollectionSearch:
    """Turns what callers send into orders that readers know, and what these find into answers."""

    def __init__(self, models: EmbeddingModels, *, max_answer_bytes: int) -> None:
        self._models = models
        self._max_answer_bytes = max_answer_bytes

    async def one(
        self, collection: OpenCollection, wanted: SearchWanted[str | Vector], visibility: Visibility
    ) -> SearchAnswer | None:
        """What the caller finds; None if the caller sees nothing at all in the collection.

        Whether it does is asked only where the answer depends on it: in large collections that takes a store long.

        Raises:
            InvalidRequest: naming the field of the query or filter that does not fit what the caller sees.
        """
        reader = await collection.reader_after_load()
        try:
            order = await self._order(collection, reader, wanted, visibility)
        except InvalidRequest:
            if not await reader.has_visible(visibility):
                return None  # what does not fit would tell of a collection that is hidden
            raise
        answer = await reader.search(order, visibility)
        return await self._answer(reader, wanted, order, answer, visibility)

    async def many(
        self, collection: OpenCollection, wanted: Sequence[SearchWanted[str | Vector]], visibility: Visibility
    ) -> list[SearchAnswer | InvalidRequest | None]:
        """The same for each of several, bit for bit; a query that does not fit has its error in its place."""
        reader = await collection.reader_after_load()
        await self._embed(collection, wanted, visibility)
        prepared = [await self._order_or_error(collection, reader, each, visibility) for each in wanted]
        orders = [each for each in prepared if isinstance(each, SearchOrder)]
        found = iter(await reader.search_many(orders, visibility))
        answers: list[SearchAnswer | InvalidRequest | None] = []
        for each, order in zip(wanted, prepared, strict=True):
            if isinstance(order, InvalidRequest):
                answers.append(order if await reader.has_visible(visibility) else None)
                continue
            try:
                answers.append(await self._answer(reader, each, order, next(found), visibility))
            except InvalidRequest as error:
                answers.append(error)
        return answers

    async def _answer(
        self,
        reader: CollectionReader,
        wanted: SearchWanted[str | Vector],
        order: SearchOrder[Vector | None],
        found: SearchAnswer,
        visibility: Visibility,
    ) -> SearchAnswer | None:
        if not found.results:
            if not await reader.has_visible(visibility):
                return None
            await refuse_senseless(order.metadata, reader, visibility)
        answer = await shaped(
            found,
            wanted.k,
            wanted.shape,
            find=lambda depth: reader.search(replace(order, k=depth), visibility),
            max_bytes=self._max_answer_bytes,
        )
        return replace(answer, mode=SearchMode.TEXT if order.query is None else wanted.mode)

    async def _order_or_error(
        self,
        collection: OpenCollection,
        reader: CollectionReader,
        wanted: SearchWanted[str | Vector],
        visibility: Visibility,
    ) -> SearchOrder[Vector | None] | InvalidRequest:
        try:
            return await self._order(collection, reader, wanted, visibility)
        except InvalidRequest as error:
            return error

    async def _order(
        self,
        collection: OpenCollection,
        reader: CollectionReader,
        wanted: SearchWanted[str | Vector],
        visibility: Visibility,
    ) -> SearchOrder[Vector | None]:
        await refuse_misspelt(wanted.metadata, reader, visibility)
        vector = await self._vector(collection, wanted, visibility)
        return SearchOrder(vector, wanted.depth, wanted.metadata, wanted.words)

    async def _embed(
        self, collection: OpenCollection, wanted: Sequence[SearchWanted[str | Vector]], visibility: Visibility
    ) -> None:
        texts = [each.query for each in wanted if isinstance(each.query, str) and each.mode is not SearchMode.TEXT]
        await self._models.embed_queries(visibility.cache_scope, collection.info.embedding_model, texts)

    async def _vector(
        self, collection: OpenCollection, wanted: SearchWanted[str | Vector], visibility: Visibility
    ) -> Vector | None:
        query = wanted.query
        if wanted.mode is SearchMode.TEXT:
            return None
        if isinstance(query, str):
            model = collection.info.embedding_model
            vector = await self._models.embed_query(visibility.cache_scope, model, query)
            if vector.any():
                return vector
            if wanted.words is not None and wanted.words.words:
                return None  # a text of which the model knows nothing may have words all the same
            raise InvalidRequest.of("query.text", "holds nothing that the collection's model knows")
        dimensions = collection.info.dimensions
        if len(query) != dimensions:
            raise InvalidRequest.of(
                "query.vector.values", f"has {len(query)} numbers; this collection's embeddings have {dimensions}"
            )
        vector = direction(query)
        if not vector.any():
            raise InvalidRequest.of("query.vector.values", "must not be all zero: cosine similarity needs a direction")
        return vector


async def scored_with_embeddings(
    collection: OpenCollection, results: Sequence[ScoredDocument], visibility: Visibility
) -> list[ScoredDocument]:
    """What was found with embeddings, see `with_embeddings`."""
    documents = await with_embeddings(collection, [each.document for each in results], visibility)
    found = {each.document.document_id: each for each in results}
    return [replace(found[document.document_id], document=document) for document in documents]


async def with_embeddings(
    collection: OpenCollection, documents: Sequence[Document], visibility: Visibility
) -> list[Document]:
    """The documents that are still there and visible, with their embeddings: as they are now, which may be another
    version. One version's text beside another's embedding would be neither."""
    embedded = await collection.embedded([document.document_id for document in documents], visibility)
    return [embedded[document.document_id] for document in documents if document.document_id in embedded]
