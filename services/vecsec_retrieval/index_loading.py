"""Loads a collection from its cell into an index, in the background, while others go on reading and writing."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from vecsec_retrieval.cells import Cell, RowCondition
from vecsec_retrieval.index import CollectionIndex
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.rows import CollectionInfo
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.tagging import from_stored

Change: TypeAlias = Callable[[CollectionIndex], None]
"""A write that the store has acknowledged, to be done to an index."""

_ROWS_A_PAGE = 500


class IndexLoad:
    """One attempt to load a collection.

    Writes that are acknowledged meanwhile are noted and done again at the end, in their order. As each replaces or
    removes whole rows, it does not matter which of them the pages had seen already.
    """

    def __init__(self, cell: Cell, info: CollectionInfo, threads: StoreThreads, metrics: RetrievalMetrics) -> None:
        self._cell = cell
        self._info = info
        self._threads = threads
        self._metrics = metrics
        self._changes: list[Change] = []

    def note(self, change: Change) -> None:
        """A write was acknowledged while the load goes on."""
        self._changes.append(change)

    async def run(self, fits: Callable[[int], bool]) -> CollectionIndex | None:
        """The complete index; None if so many rows would not fit."""
        ids = await self._threads.run("load_ids", lambda: self._cell.find_ids(self._info.collection_id, RowCondition()))
        if not fits(len(ids)):
            return None
        index = CollectionIndex(self._info.dimensions)
        for start in range(0, len(ids), _ROWS_A_PAGE):
            page = ids[start : start + _ROWS_A_PAGE]
            # Nobody else knows the index yet, so that a thread may fill it.
            await self._threads.run("load_page", lambda page=page: self._load(index, page))  # type: ignore[misc]
        self._metrics.count_untagged(len(index.untagged_ids))
        while self._changes:
            self._changes.pop(0)(index)
            await asyncio.sleep(0)  # each may be as much as a batch holds
        return index

    def _load(self, index: CollectionIndex, ids: Sequence[str]) -> None:
        rows = self._cell.get(self._info.collection_id, ids, with_embeddings=True)
        documents = [(row.document_id, from_stored(row, self._cell.tenant_id)) for row in rows]
        index.untagged_ids.update(document_id for document_id, document in documents if document is None)
        index.upsert([document for _, document in documents if document is not None])
