"""Searches a collection inside the store, without ever starving: k visible documents are found if k exist.

The store is asked for more than is needed and what is not visible is left out. If that leaves
too few, it is asked for as many as the share of visible ones among them calls for, unless that would take longer than
what comes next: the store filters by label and metadata itself. If its approximate index then still gives fewer than
there are, the rest is read and scored exactly.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Document, Neighbour, ScoredDocument, StoredRow, Vector
from vecsec_retrieval.model.similarity import cosines, dot_products
from vecsec_retrieval.model.store import Cell, RowCondition
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.matching import matching
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.visibility.visible_rows import filter_visible, visible_rows_condition

OVERFETCH = "chroma_overfetch"
WIDENED = "chroma_widened"
FILTERED = "chroma_filtered"
EXHAUSTIVE = "chroma_exhaustive"
NOTHING_VISIBLE = "nothing_visible"

_OVERFETCH_FACTOR = 4
_OVERFETCH_EXTRA = 16
_WIDEST = 500
"""A store takes some 0.1 ms a row that it hands out, and 20 to 30 ms to filter by few labels (measured)."""
_ROWS_A_PAGE = 500


class StoreSearch:
    """Runs searches of one collection in the store."""

    def __init__(
        self,
        cell: Cell,
        collection_id: str,
        *,
        catalogue: LabelCatalogue,
        threads: StoreThreads,
        metrics: RetrievalMetrics,
    ) -> None:
        self._cell = cell
        self._collection_id = collection_id
        self._catalogue = catalogue
        self._threads = threads
        self._metrics = metrics

    async def search(self, order: SearchOrder[Vector], visibility: Visibility) -> SearchAnswer:
        """The k most similar visible documents that match. Of an embedded cell, rows and scores are those that memory
        gives, to the bit; of a Chroma server scores of all ways but the last are the store's own.

        The first ways judge each row by the label that it carries itself, and never ask which labels there are.
        """
        overfetch = order.k * _OVERFETCH_FACTOR + _OVERFETCH_EXTRA
        found, filtered_rows = await self._nearest(order, overfetch, RowCondition(), visibility)
        if len(found) >= order.k:
            return SearchAnswer(found[: order.k], OVERFETCH, filtered_rows)
        if found and (wider := overfetch * order.k * 2 // len(found)) <= _WIDEST:
            found, filtered_rows = await self._nearest(order, wider, RowCondition(), visibility)
            if len(found) >= order.k:
                return SearchAnswer(found[: order.k], WIDENED, filtered_rows)
        return await self._filtered(order, visibility, filtered_rows)

    async def _filtered(self, order: SearchOrder[Vector], visibility: Visibility, filtered_rows: int) -> SearchAnswer:
        """Let the store filter; whatever its approximate index then misses is scored exactly."""
        table = await self._catalogue.labels()
        condition = visible_rows_condition(table, await visibility.in_table(table), order.metadata)
        if condition is None:
            return SearchAnswer((), NOTHING_VISIBLE)
        found, _ = await self._nearest(order, order.k, condition, visibility)
        if len(found) >= order.k:
            return SearchAnswer(found[: order.k], FILTERED, filtered_rows)
        ids = await self._threads.run("find_ids", lambda: self._cell.find_ids(self._collection_id, condition))
        known = {hit.document.document_id for hit in found}
        if known.issuperset(ids):
            return SearchAnswer(found, FILTERED, filtered_rows)
        # What was found, too: the store's scores are coarser, and equal ones would not be.
        best = await self._score_exactly(sorted(known.union(ids)), order, visibility)
        return SearchAnswer(best, EXHAUSTIVE, filtered_rows)

    async def _nearest(
        self, order: SearchOrder[Vector], count: int, condition: RowCondition, visibility: Visibility
    ) -> tuple[list[ScoredDocument], int]:
        neighbours = await self._threads.run(
            "nearest", lambda: self._cell.nearest(self._collection_id, order.query, count, condition)
        )
        seen = await filter_visible([each.row for each in neighbours], self._cell.tenant_id, visibility, self._metrics)
        found = {each.document_id: each for each in await matching(seen.visible.values(), order.metadata)}
        hits = [
            ScoredDocument(found[each.row.document_id], _similarity(each))
            for each in neighbours
            if each.row.document_id in found
        ]
        return _best(hits, len(hits)), seen.filtered

    async def _score_exactly(
        self, ids: Sequence[str], order: SearchOrder[Vector], visibility: Visibility
    ) -> list[ScoredDocument]:
        best: list[ScoredDocument] = []
        for start in range(0, len(ids), _ROWS_A_PAGE):
            page = ids[start : start + _ROWS_A_PAGE]
            rows = await self._threads.run("read_page", lambda page=page: self._read(page))  # type: ignore[misc]
            seen = await filter_visible(rows, self._cell.tenant_id, visibility, self._metrics)
            documents = await matching(seen.visible.values(), order.metadata)
            best = _best([*best, *scored(documents, order.query)], order.k)
        return best

    def _read(self, ids: Sequence[str]) -> list[StoredRow]:
        return self._cell.get(self._collection_id, ids, with_embeddings=True)


def _similarity(neighbour: Neighbour) -> float:
    if neighbour.similarity is not None:
        return neighbour.similarity
    return min(1.0, max(-1.0, 1.0 - neighbour.distance))


def scored(documents: Sequence[Document], query: Vector) -> list[ScoredDocument]:
    """Documents with embeddings, which are taken away, and their cosine similarities."""
    embeddings = [document.embedding for document in documents if document.embedding is not None]
    if not embeddings:
        return []
    similarities = cosines(dot_products(normalised(np.stack(embeddings)), query))
    return [
        ScoredDocument(replace(document, embedding=None), similarity)
        for document, similarity in zip(documents, similarities.tolist(), strict=True)
    ]


def _best(hits: Iterable[ScoredDocument], k: int) -> list[ScoredDocument]:
    return heapq.nsmallest(k, hits, key=lambda hit: (-hit.score, hit.document.document_id))
