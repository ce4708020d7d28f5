"""The best rows by vector, by words, or by both, among those that a mask leaves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Mask, exact_scores, top_k
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.postings import bm25
from vecsec_retrieval.memory.postings.phrases import MOST_TEXTS, with_phrases
from vecsec_retrieval.model.rows import Vector
from vecsec_retrieval.search.fused_ranks import FUSED_DEPTH, MissingScores, RankedRow, by_vectors, by_words, fused
from vecsec_retrieval.words import TextQuery


class Rankable(Protocol):
    """Rows by their numbers: those that a caller sees and a filter leaves, and no others."""

    def identifiers(self, rows: Sequence[int]) -> Iterable[str]:
        """The ids of rows."""
        ...

    def text(self, row: int) -> str:
        """The text of a row."""
        ...

    def nearest(self, vector: Vector, count: int) -> list[tuple[int, float]]:
        """The most similar rows and their similarities, best first."""
        ...

    def vector_scores(self, vector: Vector, rows: Sequence[int]) -> Mapping[int, float]:
        """The similarities of rows."""
        ...

    def text_scores(self, words: Sequence[str]) -> NDArray[np.float64]:
        """BM25 of all rows, 0 where there is none of the words."""
        ...


def ranked_rows(rows: Rankable, vector: Vector | None, words: TextQuery | None, k: int) -> list[RankedRow]:
    """The k best, best first; by words alone only rows that have some, else k if there are so many."""
    if words is None:
        return [] if vector is None else by_vectors(rows.nearest(vector, k))
    scores = rows.text_scores(words.words)
    depth = k if vector is None else max(k, FUSED_DEPTH)
    matching = bm25.best(scores, MOST_TEXTS if words.phrases else depth, rows.identifiers)
    if words.phrases:
        matching = with_phrases(matching, words.phrases, depth, rows.text)
    if vector is None:
        return by_words(matching)
    nearest = rows.nearest(vector, depth)
    missing = MissingScores(
        lambda others: rows.vector_scores(vector, others),
        lambda others: {row: float(scores[row]) for row in others if scores[row]},
    )
    return fused(nearest, matching, k, rows.identifiers, missing)


class MaskedMoment:
    """The rows of a moment that a mask leaves. What reads rows raises TornSnapshot if one is not what was written."""

    def __init__(self, moment: IndexMoment, mask: Mask) -> None:
        self._moment = moment
        self._mask = mask

    def identifiers(self, rows: Sequence[int]) -> Iterable[str]:
        return map(self._moment.document_id, rows)

    def text(self, row: int) -> str:
        return self._moment.text(row)

    def nearest(self, vector: Vector, count: int) -> list[tuple[int, float]]:
        return top_k(self._moment.parts, self._mask, vector, count, self.identifiers)

    def vector_scores(self, vector: Vector, rows: Sequence[int]) -> Mapping[int, float]:
        ascending = np.array(sorted(rows), dtype=np.int64)
        if not ascending.size:
            return {}
        scores = exact_scores(self._moment.parts, ascending, vector)
        return dict(zip(ascending.tolist(), scores.tolist(), strict=True))

    def text_scores(self, words: Sequence[str]) -> NDArray[np.float64]:
        return bm25.scores(self._moment.words, self._mask, words)
