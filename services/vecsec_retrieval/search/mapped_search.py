"""Searches a collection whose vectors are in a mapped file: exactly, by the index; what the rows say is in the store.

Between the scan and the reading of what it found, rows may be written and deleted. A row counts if what is read has the
score that was found, so that text, label and score belong to each other; while any does not, it is looked for again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vecsec_chassis.telemetry.tracing import Timed
from vecsec_retrieval.memory.exact_scan import Mask, top_k
from vecsec_retrieval.memory.mapped_index import MappedIndex, MappedSnapshot
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import ScoredDocument, Vector
from vecsec_retrieval.model.store import Cell
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_search import NOTHING_VISIBLE, holds, scored
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.label_table import Visible
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.visibility.visible_rows import filter_visible, visible_rows_condition

STRATEGY = "mapped_scan"
_ATTEMPTS = 4
_ROUNDING = 1e-5
"""More than the scores of one vector, reckoned in two ways, differ by."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """What a scan found."""

    score_of: dict[str, float]
    """By id, best first."""
    candidates: int
    """Rows that it chose from."""
    visible: int
    """Living rows whose label is visible."""
    hidden: int
    """Living rows whose label is not."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What the store says of the rows that were found."""

    matching: list[ScoredDocument]
    """Best first."""
    changed: int
    """Rows that were replaced or deleted since the scan."""


class MappedSearch:
    """Runs searches of one collection."""

    def __init__(self, cell: Cell, collection_id: str, *, threads: StoreThreads, metrics: RetrievalMetrics) -> None:
        self._cell = cell
        self._collection_id = collection_id
        self._threads = threads
        self._metrics = metrics

    async def search(
        self, index: MappedIndex, order: SearchOrder[Vector], visibility: Visibility
    ) -> SearchAnswer | None:
        """The k most similar visible documents that match; None where rows change faster than they can be read, or
        where the store finds too many by the metadata that do not match."""
        wanted = order.k
        for _ in range(_ATTEMPTS):
            visible = await visibility.in_table(index.labels)
            ids = await self._matching_ids(index, visible, order)
            scan = await self._scan(index, visible, order, ids, wanted)
            if not scan.visible:
                return SearchAnswer((), NOTHING_VISIBLE)
            read = await self._read(scan.score_of, order, visibility)
            has_read_all = scan.candidates <= wanted and not read.changed
            if len(read.matching) >= order.k or has_read_all:
                return SearchAnswer(read.matching[: order.k], STRATEGY, scan.hidden)
            wanted *= 2  # what is gone, or does not match, is perhaps found again
        return None

    async def _matching_ids(
        self, index: MappedIndex, visible: Visible, order: SearchOrder[Vector]
    ) -> Sequence[str] | None:
        """What the store finds by the metadata; None if all rows match."""
        if order.metadata is None:
            return None
        condition = visible_rows_condition(index.labels, visible, order.metadata)
        if condition is None:
            return ()
        return await self._threads.run("find_ids", lambda: self._cell.find_ids(self._collection_id, condition))

    async def _scan(
        self, index: MappedIndex, visible: Visible, order: SearchOrder[Vector], ids: Sequence[str] | None, wanted: int
    ) -> _Scan:
        snapshot = index.snapshot()

        def scan() -> _Scan:
            mask = snapshot.mask(visible)
            visible_rows = int(np.count_nonzero(mask))
            hidden_rows = int(np.count_nonzero(snapshot.alive)) - visible_rows
            if ids is not None:
                mask &= _mask_of(index, snapshot, ids)
            rows = top_k(snapshot.scanned, mask, order.query, wanted, lambda rows: [snapshot.ids[row] for row in rows])
            score_of = {snapshot.ids[row]: score for row, score in rows}
            return _Scan(score_of, int(np.count_nonzero(mask)), visible_rows, hidden_rows)

        with Timed("scan"):
            return await self._threads.run("scan", scan)

    async def _read(self, score_of: dict[str, float], order: SearchOrder[Vector], visibility: Visibility) -> _Read:
        rows = await self._threads.run(
            "get", lambda: self._cell.get(self._collection_id, list(score_of), with_embeddings=True)
        )
        seen = await filter_visible(rows, self._cell.tenant_id, visibility, self._metrics)
        scored_now = {each.document.document_id: each for each in scored(list(seen.visible.values()), order.query)}
        current = {key for key, each in scored_now.items() if abs(each.score - score_of[key]) < _ROUNDING}
        matches = holds(order)
        matching = [
            ScoredDocument(scored_now[key].document, score)
            for key, score in score_of.items()
            if key in current and matches(scored_now[key].document.metadata)
        ]
        return _Read(matching, len(score_of) - len(current))


def _mask_of(index: MappedIndex, snapshot: MappedSnapshot, ids: Sequence[str]) -> Mask:
    mask = np.zeros(len(snapshot.alive), dtype=np.bool_)
    rows = (index.row(document_id) for document_id in ids)
    mask[[row for row in rows if row is not None and row < len(mask)]] = True
    return mask
