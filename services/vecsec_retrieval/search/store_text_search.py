"""Searches a collection by words where it is not in memory: every visible row is read.

It takes as long as they are many, and says to the last bit what a search in memory does: how many rows a collection has
that the caller does not see may decide whether it is in memory, and must not show.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import cosines, dot_products
from vecsec_retrieval.memory.postings import bm25
from vecsec_retrieval.memory.postings.later_postings import LaterPostings, LaterWords
from vecsec_retrieval.memory.postings.phrases import LookedAt, look
from vecsec_retrieval.memory.postings.word_counts import WordCounts, counted_words
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.filters import of_document
from vecsec_retrieval.model.rows import Document, ScoredDocument, Vector
from vecsec_retrieval.model.store import Cell
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.ranked_rows import RowsWanted, ranked_rows
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_search import NOTHING_VISIBLE
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.visibility.visible_rows import filter_visible, visible_rows_condition
from vecsec_retrieval.words import PhraseFinder, TextQuery

READ_THROUGH = "read_through"
_ROWS_A_PAGE = 500


class StoreTextSearch:
    """Runs searches by words in the store."""

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

    async def search(self, order: SearchOrder[Vector | None], visibility: Visibility) -> SearchAnswer:
        """As `CollectionReader.search`, by words or by both."""
        words = order.words
        assert words is not None
        table = await self._catalogue.labels()
        condition = visible_rows_condition(table, await visibility.in_table(table), order.metadata)
        if condition is None:
            return SearchAnswer((), NOTHING_VISIBLE)
        ids = await self._threads.run("find_ids", lambda: self._cell.find_ids(self._collection_id, condition))
        rows = _RowsRead(words, order.query, of_document(order.metadata))
        for start in range(0, len(ids), _ROWS_A_PAGE):
            page = ids[start : start + _ROWS_A_PAGE]
            visible = await self._visible(page, visibility, embeddings=order.query is not None)
            documents = list(visible.values())
            await self._threads.run("count_words", lambda documents=documents: rows.add(documents))  # type: ignore[misc]
        ranked = await self._threads.run("rank", lambda: ranked_rows(rows, RowsWanted(order.query, words, order.k)))
        found = await self._visible([rows.ids[each.row] for each in ranked], visibility, embeddings=False)
        results = [
            ScoredDocument(found[rows.ids[each.row]], each.score, each.parts)
            for each in ranked
            if rows.ids[each.row] in found  # else it was deleted meanwhile
        ]
        return SearchAnswer(results, READ_THROUGH)

    async def _visible(self, ids: Sequence[str], visibility: Visibility, *, embeddings: bool) -> dict[str, Document]:
        rows = await self._threads.run(
            "read_page", lambda: self._cell.get(self._collection_id, ids, with_embeddings=embeddings)
        )
        return (await filter_visible(rows, self._cell.tenant_id, visibility, self._metrics)).visible


class _RowsRead:
    """What is kept of the rows that were read; see `ranked_rows.Rankable`."""

    def __init__(self, words: TextQuery, vector: Vector | None, matches: Callable[[Document], bool]) -> None:
        self.ids: list[str] = []
        self._wanted = frozenset(words.words)
        self._phrases = PhraseFinder(words.phrases)
        self._looked_at: dict[int, LookedAt] = {}
        """Rows that have all words of the phrases: their texts are here once, and soon gone."""
        self._vector = vector
        self._matches = matches
        self._postings = LaterPostings()
        self._similarities: list[NDArray[np.float64]] = []

    def add(self, documents: Sequence[Document]) -> None:
        """What matches of these documents, which have embeddings where a vector is looked for."""
        documents = [each for each in documents if self._matches(each)]
        for document, counted in zip(documents, counted_words(documents), strict=True):
            wanted = {word: count for word, count in counted.items() if word in self._wanted}
            if self._phrases.words and self._phrases.words <= wanted.keys():
                self._looked_at[len(self.ids)] = look(document.text, self._phrases)
            self.ids.append(document.document_id)
            self._postings.add(WordCounts(wanted, counted.length))
        embeddings = [each.embedding for each in documents if each.embedding is not None]
        if self._vector is not None and embeddings:
            self._similarities.append(cosines(dot_products(normalised(np.stack(embeddings)), self._vector)))

    def identifiers(self, rows: Sequence[int]) -> Iterable[str]:
        return (self.ids[row] for row in rows)

    def having(self, words: Sequence[str]) -> NDArray[np.int64]:
        # Those of the phrases, which are the only ones that are asked for.
        return np.array(list(self._looked_at), dtype=np.int64)

    def looked_at(self, row: int, phrases: PhraseFinder) -> LookedAt:
        return self._looked_at[row]

    def nearest(self, vectors: Sequence[Vector], counts: Sequence[int]) -> list[list[tuple[int, float]]]:
        # Similarities were reckoned page by page, with the one vector that there is.
        (count,) = counts
        scored = zip((-self._all_similarities()).tolist(), self.ids, range(len(self.ids)), strict=True)
        return [[(row, -negative) for negative, _, row in sorted(scored)[:count]]]

    def vector_scores(self, vector: Vector, rows: Sequence[int]) -> Mapping[int, float]:
        similarities = self._all_similarities()
        return {row: float(similarities[row]) for row in rows}

    def text_scores(self, words: Sequence[str]) -> NDArray[np.float64]:
        everything = LaterWords(self._postings, self._postings.lengths(len(self._postings)))
        return bm25.scores([everything], np.ones(len(self.ids), dtype=np.bool_), words)

    def _all_similarities(self) -> NDArray[np.float64]:
        return np.concatenate([np.empty(0), *self._similarities])
