"""Reads a collection from its index in memory; nothing here touches the store."""

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from vecsec_chassis.tracing import Timed
from vecsec_retrieval.exact_scan import Mask, top_k
from vecsec_retrieval.filters import Predicate, predicate
from vecsec_retrieval.index import CollectionIndex, IndexSnapshot
from vecsec_retrieval.readers import LabelCount, SearchAnswer, SearchOrder
from vecsec_retrieval.residuals import Visibility
from vecsec_retrieval.rows import Document, ScoredDocument, Vector
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.vectors import normalised

STRATEGY = "exact_scan"
_INLINE_ROWS = 20_000
_INLINE_FILTERED_ROWS = 1_000
"""Up to so many rows a scan is over before anybody would notice that others had to wait; a filter looks at each row."""


class HotReader:
    """See `readers.CollectionReader`."""

    def __init__(self, index: CollectionIndex, threads: StoreThreads) -> None:
        self._index = index
        self._threads = threads

    async def has_visible(self, visibility: Visibility) -> bool:
        _, mask = await self._seen(visibility)
        return bool(mask.any())

    async def count(self, visibility: Visibility) -> int:
        _, mask = await self._seen(visibility)
        return int(np.count_nonzero(mask))

    async def label_counts(self, visibility: Visibility, *, after_key: str, limit: int) -> list[LabelCount]:
        snapshot, mask = await self._seen(visibility)
        table = self._index.labels
        counts = np.bincount(snapshot.label_codes[mask])
        codes = table.in_key_order(counts > 0, after_key=after_key, limit=limit)
        return [LabelCount(table.labels[code], int(counts[code])) for code in codes]

    async def ids(self, visibility: Visibility, *, after_id: str, limit: int) -> list[str]:
        snapshot, mask = await self._seen(visibility)

        def first() -> list[str]:
            ids = (snapshot.documents[row].document_id for row in np.flatnonzero(mask).tolist())
            return heapq.nsmallest(limit, (document_id for document_id in ids if document_id > after_id))

        return await self._threads.run("list_ids", first)

    async def metadata_keys(self, visibility: Visibility) -> frozenset[str]:
        snapshot, mask = await self._seen(visibility)
        return snapshot.metadata_keys(mask)

    async def get(self, document_ids: Sequence[str], visibility: Visibility) -> list[Document]:
        snapshot, mask = await self._seen(visibility)
        rows = (self._index.row(document_id) for document_id in document_ids)
        return [snapshot.documents[row] for row in rows if row is not None and mask[row]]

    async def search(self, order: SearchOrder, visibility: Visibility) -> SearchAnswer:
        snapshot, mask = await self._seen(visibility)
        filtered_rows = len(self._index) - int(np.count_nonzero(mask))
        scan = _scan(snapshot, mask, order)
        inline_rows = _INLINE_ROWS if order.metadata is None else _INLINE_FILTERED_ROWS
        with Timed("scan"):
            results = scan() if len(mask) <= inline_rows else await self._threads.run("scan", scan)
        return SearchAnswer(results, STRATEGY, filtered_rows)

    async def _seen(self, visibility: Visibility) -> tuple[IndexSnapshot, Mask]:
        """The index as it is on return, and which of its rows are visible."""
        with Timed("mask"):
            while True:
                labels = self._index.labels
                visible = await visibility.in_table(labels)
                if labels is self._index.labels:  # otherwise rows were compacted while Cedar decided
                    snapshot = self._index.snapshot()
                    return snapshot, snapshot.mask(visible)


def _scan(snapshot: IndexSnapshot, mask: Mask, order: SearchOrder) -> Callable[[], list[ScoredDocument]]:
    def scan() -> list[ScoredDocument]:
        documents = snapshot.documents
        if order.metadata is not None:
            _narrow(mask, snapshot, predicate(order.metadata))
        ranked = top_k(snapshot.matrix, mask, _direction(order.vector), order.k, lambda row: documents[row].document_id)
        return [ScoredDocument(documents[row], score) for row, score in ranked]

    return scan


def _narrow(mask: Mask, snapshot: IndexSnapshot, holds: Predicate) -> None:
    for row in mask.nonzero()[0].tolist():
        if not holds(snapshot.documents[row].metadata):
            mask[row] = False


def _direction(vector: Vector) -> Vector:
    direction: Vector = normalised(vector.reshape(1, -1))[0]
    return direction
