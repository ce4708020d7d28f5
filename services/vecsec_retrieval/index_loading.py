"""Loads a collection from its cell into an index, in the background, while others go on reading and writing."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from vecsec_retrieval.cells import Cell, RowCondition
from vecsec_retrieval.index import CollectionIndex
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.roster import Roster
from vecsec_retrieval.rows import CollectionInfo
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.tagging import from_stored

Change: TypeAlias = Callable[[CollectionIndex | Roster], None]
"""A write that the store has acknowledged, to be done in memory."""

Rows = TypeVar("Rows", CollectionIndex, Roster)

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

    async def run(
        self, fits: Callable[[int], bool], roster_fits: Callable[[int], bool]
    ) -> CollectionIndex | Roster | None:
        """The complete index; ids and labels alone if so many rows would not fit, and None if those would not."""
        ids = await self._threads.run("load_ids", lambda: self._cell.find_ids(self._info.collection_id, RowCondition()))
        if not fits(len(ids)):
            return await self._filled(Roster(), ids) if roster_fits(len(ids)) else None
        index = await self._filled(CollectionIndex(self._info.dimensions), ids)
        self._metrics.count_untagged(len(index.untagged_ids))
        return index

    async def _filled(self, rows: Rows, ids: Sequence[str]) -> Rows:
        for start in range(0, len(ids), _ROWS_A_PAGE):
            # Nobody else knows them yet, so that a thread may fill them.
            page = partial(self._load, rows, ids[start : start + _ROWS_A_PAGE])
            await self._threads.run("load_page", page)
        while self._changes:
            self._changes.pop(0)(rows)
            await asyncio.sleep(0)  # each may be as much as a batch holds
        return rows

    def _load(self, into: CollectionIndex | Roster, ids: Sequence[str]) -> None:
        with_embeddings = isinstance(into, CollectionIndex)
        rows = self._cell.get(self._info.collection_id, ids, with_embeddings=with_embeddings)
        documents = [(row.document_id, from_stored(row, self._cell.tenant_id)) for row in rows]
        if isinstance(into, CollectionIndex):
            into.untagged_ids.update(document_id for document_id, document in documents if document is None)
        into.upsert([document for _, document in documents if document is not None])
