"""Documents among those that a grant makes visible: the nearest ones, and some by id, also to delete them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import LimitExceeded
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.filters import MetadataFilter, refuse_oversized
from vecsec_retrieval.model.rows import Document, Vector
from vecsec_retrieval.search.matching import matching
from vecsec_retrieval.search.reader import SearchAnswer
from vecsec_retrieval.search.store_search import NOTHING_VISIBLE
from vecsec_retrieval.use_cases.collection_search import (
    CollectionSearch,
    SearchWanted,
    scored_with_embeddings,
    with_embeddings,
)
from vecsec_retrieval.use_cases.document_sizes import label_size, size_without_label
from vecsec_retrieval.use_cases.search_modes import with_mode
from vecsec_retrieval.use_cases.seen_collection import seen_collection
from vecsec_retrieval.visibility.grant_life import require_living
from vecsec_retrieval.visibility.permissions import Permissions, Visibility, refuse_unseen

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
        searching: CollectionSearch,
        metrics: RetrievalMetrics,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._permissions = permissions
        self._cells = cells
        self._searching = searching
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    async def search(
        self, token: str, collection_id: str, wanted: SearchWanted[str | Vector], *, include_embeddings: bool
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
        if wanted.metadata is not None:
            refuse_oversized(wanted.metadata)
        wanted = await with_mode(wanted, have_words=self._cells.have_words)
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, visibility)
            answer = None if collection is None else await self._searching.one(collection, wanted, visibility)
            if collection is not None and answer is not None and include_embeddings:
                scored = await scored_with_embeddings(collection, answer.results, visibility)
                answer = replace(answer, results=scored)
        if answer is None:
            refuse_unseen(collection_id)
            answer = SearchAnswer((), NOTHING_VISIBLE, mode=wanted.mode)
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
                documents = await with_embeddings(collection, documents, visibility)
        documents = await matching(documents, metadata)
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
