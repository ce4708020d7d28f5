"""Documents among those that a grant makes visible: the nearest ones, and some by id, also to delete them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidRequest, LimitExceeded
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.embeddings import EmbeddingModels, direction
from vecsec_retrieval.model.filters import MetadataFilter, predicate, refuse_oversized, refuse_unknown_keys
from vecsec_retrieval.model.rows import Document, Vector
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_search import NOTHING_VISIBLE
from vecsec_retrieval.use_cases.document_sizes import label_size, size_without_label
from vecsec_retrieval.use_cases.seen_collection import seen_collection
from vecsec_retrieval.visibility.grant_life import require_living
from vecsec_retrieval.visibility.permissions import Permissions, Visibility, refuse_unseen
from vecsec_retrieval.words import TextQuery, words_of_query

_MEASURED_INLINE = 100
"""Documents; a thousand take 10 ms."""
_SPLIT_INLINE = 2_000
"""Characters of a query; its longest takes some ms."""

log = structlog.get_logger()


class DocumentAccess:
    """The use cases."""

    def __init__(
        self,
        permissions: Permissions,
        cells: OpenCells,
        models: EmbeddingModels,
        metrics: RetrievalMetrics,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._permissions = permissions
        self._cells = cells
        self._models = models
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    async def search(
        self, token: str, collection_id: str, order: SearchOrder[str | Vector], *, include_embeddings: bool
    ) -> SearchAnswer:
        """The k best of the visible documents.

        Raises:
            InvalidGrant, AccessDenied, RealRetrievalOff: if the caller may not read, or not so.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            InvalidRequest: naming the field of the query or filter that does not fit what the caller sees, or the mode
                where it cannot be.
            LimitExceeded: if the documents are larger together than an answer may be.
        """
        visibility = await self._permissions.require_reading(token, embeddings=include_embeddings)
        if order.metadata is not None:
            refuse_oversized(order.metadata)
        order = replace(order, mode=mode_of(order, have_words=self._cells.have_words))
        order = replace(order, words=await _words_of(order))
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, visibility)
            answer = None if collection is None else await self._search_in(collection, order, visibility)
            if collection is not None and answer is not None and include_embeddings:
                documents = await _with_embeddings(collection, [each.document for each in answer.results], visibility)
                found = {each.document.document_id: each for each in answer.results}
                results = [replace(found[document.document_id], document=document) for document in documents]
                answer = replace(answer, results=results)
        if answer is None:
            refuse_unseen(collection_id)
            answer = SearchAnswer((), NOTHING_VISIBLE, mode=order.mode)
        await self._require_room([result.document for result in answer.results])
        visibility.count_rows(len(answer.results))
        self._metrics.count_search(answer.strategy, answer.mode, answer.filtered_rows)
        annotate_span(
            strategy=answer.strategy,
            mode=answer.mode.value,
            result_count=len(answer.results),
            filtered_count=answer.filtered_rows,
        )
        # How an answer was found tells whether hidden rows were in the way.
        return answer if visibility.grant.may_configure else replace(answer, strategy="")

    async def get(
        self,
        token: str,
        collection_id: str,
        document_ids: Sequence[str],
        *,
        include_embeddings: bool,
        metadata: MetadataFilter | None = None,
    ) -> list[Document]:
        """The visible documents that match in the order of the ids; the missing and the hidden are left out alike.

        Raises:
            InvalidGrant, AccessDenied, RealRetrievalOff: if the caller may not read, or not so.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            LimitExceeded: if the documents are larger together than an answer may be.
        """
        visibility = await self._permissions.require_reading(token, embeddings=include_embeddings)
        if metadata is not None:
            refuse_oversized(metadata)
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, visibility)
            if collection is None:
                refuse_unseen(collection_id)
                return []
            reader = collection.reader()
            documents = await reader.get(list(dict.fromkeys(document_ids)), visibility)
            if not documents and not await reader.has_visible(visibility):
                refuse_unseen(collection_id)
            if documents and include_embeddings:
                documents = await _with_embeddings(collection, documents, visibility)
        if metadata is not None:
            holds = predicate(metadata)
            documents = [document for document in documents if holds(document.metadata)]
        await self._require_room(documents)
        visibility.count_rows(len(documents))
        return documents

    async def delete(
        self, token: str, collection_id: str, document_ids: Sequence[str], *, dry_run: bool = False
    ) -> int:
        """How many documents were deleted, or would be; those that may not be deleted count as absent.

        Raises:
            InvalidGrant: if the grant is not one to delete, or expired before its turn to write came.
            CollectionNotFound: if nothing may be deleted in a collection other than the default one.
        """
        visibility = await self._permissions.require(token, Action.DELETE)
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            if cell is not None and await seen_collection(cell, collection_id, visibility) is not None:
                async with cell.writer:
                    require_living(visibility.grant)
                    # Anew: whoever had the lock before may have dropped it, and another made one of its name.
                    collection = await cell.collection(collection_id)
                    ids = list(dict.fromkeys(document_ids))
                    deleted = 0
                    if collection is not None:
                        deleted = await _delete_permitted(cell, collection, ids, visibility, dry_run=dry_run)
                visibility.count_rows(deleted)
                if deleted or (collection is not None and await collection.reader().has_visible(visibility)):
                    return deleted
        refuse_unseen(collection_id)
        return 0

    async def reread(self, token: str) -> None:
        """For operators who do not trust what is in memory: let go of it, open the cell again and begin to read it.
        Calls in flight end with what they began with; searches meanwhile read from the store.

        Raises:
            InvalidGrant: if the caller may not configure.
            StoreDamaged: if the cell cannot be opened any more.
        """
        grant = (await self._permissions.require(token, Action.CONFIGURE)).grant
        await self._cells.close_one(grant.tenant_id)
        async with self._cells.lease(grant.tenant_id) as cell:
            for collection in [] if cell is None else await cell.collections():
                collection.start_loading()
        log.info("tenant is read anew", tenant_id=grant.tenant_id, subject=grant.subject)

    async def _require_room(self, documents: Sequence[Document]) -> None:
        if len(documents) <= _MEASURED_INLINE:
            refuse_oversized_answer(documents, self._max_answer_bytes)
        else:
            await asyncio.to_thread(refuse_oversized_answer, documents, self._max_answer_bytes)

    async def _search_in(
        self, collection: OpenCollection, order: SearchOrder[str | Vector], visibility: Visibility
    ) -> SearchAnswer | None:
        """What the caller finds; None if the caller sees nothing at all in the collection.

        Whether it does is asked only where the answer depends on it: in large collections that takes a store long.
        """
        reader = await collection.reader_after_load()
        try:
            if order.metadata is not None:
                refuse_unknown_keys(order.metadata, await reader.metadata_keys(visibility))
            vector = await self._vector(collection, order, visibility)
        except InvalidRequest:
            if not await reader.has_visible(visibility):
                return None  # what does not fit would tell of a collection that is hidden
            raise
        wanted = SearchOrder(vector, order.k, order.metadata, words=order.words)
        answer = await reader.search(wanted, visibility)
        answer = replace(answer, mode=SearchMode.TEXT if vector is None else order.mode)
        if not answer.results and not await reader.has_visible(visibility):
            return None
        return answer

    async def _vector(
        self, collection: OpenCollection, order: SearchOrder[str | Vector], visibility: Visibility
    ) -> Vector | None:
        query = order.query
        if order.mode is SearchMode.TEXT:
            return None
        if isinstance(query, str):
            model = collection.info.embedding_model
            vector = await self._models.embed_query(visibility.cache_scope, model, query)
            if vector.any():
                return vector
            if order.words is not None and order.words.words:
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


def mode_of(order: SearchOrder[str | Vector], *, have_words: bool) -> SearchMode:
    """By what is searched where callers leave it open, or choose it. It depends on the query and on the store's kind,
    and on nothing that is stored: it would tell of hidden rows.

    Raises:
        InvalidRequest: if it cannot be.
    """
    if order.mode is SearchMode.VECTOR:
        return SearchMode.VECTOR
    if order.mode is SearchMode.AUTO:
        return SearchMode.HYBRID if have_words and isinstance(order.query, str) else SearchMode.VECTOR
    if not isinstance(order.query, str):
        raise InvalidRequest.of("mode", f"{order.mode.name} looks for words: send a text, or search with VECTOR")
    if not have_words:
        raise InvalidRequest.of(
            "mode", f"{order.mode.name} is not to be had: the store is a Chroma server; search with VECTOR or AUTO"
        )
    return order.mode


async def _words_of(order: SearchOrder[str | Vector]) -> TextQuery | None:
    if not isinstance(order.query, str) or order.mode is SearchMode.VECTOR:
        return None
    if len(order.query) <= _SPLIT_INLINE:
        words = words_of_query(order.query)
    else:
        words = await asyncio.to_thread(words_of_query, order.query)
    if order.mode is SearchMode.TEXT and not words.words:
        raise InvalidRequest.of("query.text", "holds no word to look for")
    return words


async def _with_embeddings(
    collection: OpenCollection, documents: Sequence[Document], visibility: Visibility
) -> list[Document]:
    """The documents that are still there and visible, with their embeddings: as they are now, which may be another
    version. One version's text beside another's embedding would be neither."""
    embedded = await collection.embedded([document.document_id for document in documents], visibility)
    return [embedded[document.document_id] for document in documents if document.document_id in embedded]


async def _delete_permitted(
    cell: OpenCell,
    collection: OpenCollection,
    document_ids: Sequence[str],
    visibility: Visibility,
    *,
    dry_run: bool,
) -> int:
    existing = await collection.existing(document_ids)
    # A row whose tags are not whole has None for a label, which is never among the deletable ones.
    deletable = await visibility.of(row.label for row in existing.values() if row.label is not None)
    to_delete = [document_id for document_id, row in existing.items() if row.label in deletable]

    def forget(position: int) -> None:
        collection.apply(IndexChange(position, deleted=to_delete))
        cell.rows_changed(-len(to_delete))  # here, for it is true also of a call that is cancelled meanwhile

    if to_delete and not dry_run:
        await cell.write("delete", lambda: cell.cell.delete(collection.info.collection_id, to_delete), forget)
    return len(to_delete)


def refuse_oversized_answer(documents: Sequence[Document], max_bytes: int) -> None:
    """Hold an answer to its limit.

    Raises:
        LimitExceeded: saying how many of the documents would fit.
    """
    count = count_that_fits(documents, max_bytes)
    if count < len(documents):
        raise LimitExceeded(
            f"the answer would be larger than {max_bytes} bytes; the first {count} of {len(documents)} documents "
            "fit: ask for fewer"
        )


def count_that_fits(documents: Sequence[Document], max_bytes: int) -> int:
    """How many of the documents, from the first, an answer can hold."""
    total = 0
    label_sizes: dict[int, int] = {}  # by `id()`, as documents in memory share the few labels that they have
    for count, document in enumerate(documents):
        of_label = label_sizes.get(id(document.label))
        if of_label is None:
            of_label = label_sizes[id(document.label)] = label_size(document.label)
        total += of_label + size_without_label(document)
        if total > max_bytes:
            return count
    return len(documents)
