"""Loads a collection from its cell into an index, in the background, while others go on reading and writing."""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import structlog

from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.memory.mapped_index import MappedIndex
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo, StoredRow
from vecsec_retrieval.model.store import Cell, RowCondition
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.tagging import from_stored

IndexChange: TypeAlias = Callable[[CollectionIndex | MappedIndex], None]
"""A write that the store has acknowledged, to be done in memory."""

log = structlog.get_logger()

_ROWS_A_PAGE = 500
_HEAD_ROWS = 200
"""What one question to the store reads about as soon as it would answer a search. More rows make a collection a large
one."""


class IndexLoad:
    """One attempt to load a collection.

    Writes that are acknowledged meanwhile are noted and done again at the end, in their order. As each replaces or
    removes whole rows, it does not matter which of them the pages had seen already.
    """

    def __init__(
        self,
        cell: Cell,
        info: CollectionInfo,
        threads: StoreThreads,
        metrics: RetrievalMetrics,
        on_large: Callable[[], None],
        *,
        vector_folder: Path | None,
    ) -> None:
        """`on_large` is called as soon as the collection proves to be a large one; its vectors lie in `vector_folder`
        if it is too large for memory."""
        self._cell = cell
        self._info = info
        self._threads = threads
        self._metrics = metrics
        self._on_large = on_large
        self._vector_folder = vector_folder
        self._changes: list[IndexChange] = []

    def note(self, change: IndexChange) -> None:
        """A write was acknowledged while the load goes on."""
        self._changes.append(change)

    async def run(
        self, fits: Callable[[int], bool], mapped_index_fits: Callable[[int], bool], *, limit_bytes: int
    ) -> CollectionIndex | MappedIndex | None:
        """The complete index; one with the vectors in a file if so many rows would not fit, or take more than
        `limit_bytes` when they are read; and None if neither would fit, or the file not on its disk."""
        index = await self._index(fits, limit_bytes)
        if index is None:
            return await self._mapped_index(mapped_index_fits)
        self._metrics.count_untagged(len(index.untagged_ids))
        return index

    async def _index(self, fits: Callable[[int], bool], limit_bytes: int) -> CollectionIndex | None:
        index = CollectionIndex(self._info.dimensions)
        # Whole rows at once: to ask for the ids first takes as long again where rows are few.
        ids = head = await self._threads.run("load_head", lambda: self._load_head(index))
        if len(head) > _HEAD_ROWS:
            self._on_large()
            ids = await self._threads.run("load_ids", self._find_ids)
        if not fits(len(ids)):
            return None
        read = set(head)
        unread = [document_id for document_id in ids if document_id not in read]
        await self._fill(index, unread, most_bytes=limit_bytes)
        return index if index.approximate_bytes <= limit_bytes else None

    async def _mapped_index(self, fits: Callable[[int], bool]) -> MappedIndex | None:
        # Asked for again: changes that were done to an index are none of this one's any more.
        ids = await self._threads.run("load_ids", self._find_ids)
        if not fits(len(ids)):
            return None
        try:
            index = await self._threads.run("make_room", lambda: self._with_room(len(ids)))
            await self._fill(index, ids)
        except OSError as error:
            log.warning("no room for a file of vectors", tenant_id=self._cell.tenant_id, reason=error.strerror)
            return None
        return index

    def _with_room(self, rows: int) -> MappedIndex:
        index = MappedIndex(self._info.dimensions, self._vector_folder)
        index.make_room(rows)
        return index

    async def _fill(
        self, into: CollectionIndex | MappedIndex, ids: Sequence[str], *, most_bytes: float = math.inf
    ) -> None:
        """Load these rows and do again what was written meanwhile; give up where it takes more memory than that."""
        for start in range(0, len(ids), _ROWS_A_PAGE):
            if into.approximate_bytes > most_bytes:
                return
            # Nobody else knows them yet, so that a thread may fill them.
            page = partial(self._load, into, ids[start : start + _ROWS_A_PAGE])
            await self._threads.run("load_page", page)
        if self._changes:
            await self._threads.run("make_room", partial(into.make_room, _ROWS_A_PAGE))
        while self._changes:
            self._changes.pop(0)(into)
            await asyncio.sleep(0)  # each may be as much as a batch holds

    def _find_ids(self) -> list[str]:
        return self._cell.find_ids(self._info.collection_id, RowCondition())

    def _load_head(self, index: CollectionIndex) -> list[str]:
        """Load the first rows, one more than those of a small collection where there are so many; their ids."""
        rows = self._cell.head(self._info.collection_id, _HEAD_ROWS + 1)
        self._put(index, rows)
        return [row.document_id for row in rows]

    def _load(self, into: CollectionIndex | MappedIndex, ids: Sequence[str]) -> None:
        self._put(into, self._cell.get(self._info.collection_id, ids, with_embeddings=True))

    def _put(self, into: CollectionIndex | MappedIndex, rows: Sequence[StoredRow]) -> None:
        documents = [(row.document_id, from_stored(row, self._cell.tenant_id)) for row in rows]
        if isinstance(into, CollectionIndex):
            into.untagged_ids.update(document_id for document_id, document in documents if document is None)
        into.upsert([document for _, document in documents if document is not None])
