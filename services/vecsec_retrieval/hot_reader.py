"""Reads a collection from its index in memory; nothing here touches the store."""

import heapq
from collections.abc import Callable, Sequence

from vecsec_retrieval.exact_scan import Mask, top_k
from vecsec_retrieval.filters import Predicate, predicate
from vecsec_retrieval.index import CollectionIndex, IndexSnapshot
from vecsec_retrieval.readers import LabelCount, SearchAnswer, SearchOrder
from vecsec_retrieval.residuals import Visibility
from vecsec_retrieval.rows import Document, ScoredDocument, Vector
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.tagging import label_key
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
        return bool(await visibility.of(self._index.labels))

    async def count(self, visibility: Visibility) -> int:
        return self._index.count(await visibility.of(self._index.labels))

    async def label_counts(self, visibility: Visibility, *, after_key: str, limit: int) -> list[LabelCount]:
        visible = await visibility.of(self._index.labels)
        labels = self._index.labels
        keys = heapq.nsmallest(limit, (key for key in visible if key > after_key and key in labels))
        return [LabelCount(labels[key], self._index.count([key])) for key in keys]

    async def metadata_keys(self, visibility: Visibility) -> frozenset[str]:
        return self._index.metadata_keys(await visibility.of(self._index.labels))

    async def get(self, document_ids: Sequence[str], visibility: Visibility) -> list[Document]:
        visible = await visibility.of(self._index.labels)
        found = (self._index.find(document_id) for document_id in document_ids)
        return [document for document in found if document is not None and label_key(document.label) in visible]

    async def search(self, order: SearchOrder, visibility: Visibility) -> SearchAnswer:
        visible = await visibility.of(self._index.labels)
        # From here to the snapshot nothing may wait: codes and rows have to be of one moment.
        snapshot = self._index.snapshot()
        mask = snapshot.mask(self._index.codes(visible))
        filtered_rows = len(self._index) - self._index.count(visible)
        scan = _scan(snapshot, mask, order)
        inline_rows = _INLINE_ROWS if order.metadata is None else _INLINE_FILTERED_ROWS
        results = scan() if len(mask) <= inline_rows else await self._threads.run("scan", scan)
        return SearchAnswer(results, STRATEGY, filtered_rows)


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
