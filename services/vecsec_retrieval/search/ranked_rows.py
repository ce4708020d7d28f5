"""The best rows by vector, by words, or by both, among those that a mask leaves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Mask, exact_scores, top_k_of_many
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.postings import bm25
from vecsec_retrieval.memory.postings.phrases import LookedAt, look, rows_having, with_phrases
from vecsec_retrieval.model.rows import Vector
from vecsec_retrieval.search.fused_ranks import (
    FUSED_DEPTH,
    MissingScores,
    RankedRow,
    Scored,
    by_vectors,
    by_words,
    fused,
)
from vecsec_retrieval.words import PhraseFinder, TextQuery


class Rankable(Protocol):
    """Rows by their numbers: those that a caller sees and a filter leaves, and no others."""

    def identifiers(self, rows: Sequence[int]) -> Iterable[str]:
        """The ids of rows."""
        ...

    def having(self, words: Sequence[str]) -> NDArray[np.int64]:
        """The rows that have all of these words."""
        ...

    def looked_at(self, row: int, phrases: PhraseFinder) -> LookedAt:
        """The text of a row, with phrases looked for in it."""
        ...

    def nearest(self, vectors: Sequence[Vector], counts: Sequence[int]) -> list[list[tuple[int, float]]]:
        """For each vector the so many most similar rows and their similarities, best first."""
        ...

    def vector_scores(self, vector: Vector, rows: Sequence[int]) -> Mapping[int, float]:
        """The similarities of rows."""
        ...

    def text_scores(self, words: Sequence[str]) -> NDArray[np.float64]:
        """BM25 of all rows, 0 where there is none of the words."""
        ...


class RowsWanted(NamedTuple):
    """What is looked for among rows: the k best by a vector, by words, or by both."""

    vector: Vector | None
    words: TextQuery | None
    k: int

    @property
    def depth(self) -> int:
        """How many are ranked by each."""
        return self.k if self.vector is None or self.words is None else max(self.k, FUSED_DEPTH)


def ranked_rows(rows: Rankable, wanted: RowsWanted) -> list[RankedRow]:
    """The k best, best first; by words alone only rows that have some, else k if there are so many."""
    return ranked_rows_of_many(rows, [wanted])[0]


def ranked_rows_of_many(rows: Rankable, wanted: Sequence[RowsWanted]) -> list[list[RankedRow]]:
    """The same for each of several, bit for bit; all their vectors are looked for at once."""
    with_vectors = [each for each in wanted if each.vector is not None]
    vectors = [each.vector for each in with_vectors if each.vector is not None]
    nearest = iter(rows.nearest(vectors, [each.depth for each in with_vectors]) if vectors else ())
    return [_ranked(rows, each, () if each.vector is None else next(nearest)) for each in wanted]


def _ranked(rows: Rankable, wanted: RowsWanted, nearest: Scored) -> list[RankedRow]:
    vector, words, k = wanted
    if words is None:
        return by_vectors(nearest)
    scores = rows.text_scores(words.words)
    depth = wanted.depth
    if words.phrases:
        phrases = PhraseFinder(words.phrases)
        matching = with_phrases(
            rows.having(sorted(phrases.words)),
            scores,
            depth,
            rows.identifiers,
            lambda row: rows.looked_at(row, phrases),
        )
    else:
        matching = bm25.best(scores, depth, rows.identifiers)
    if vector is None:
        return by_words(matching)
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

    def having(self, words: Sequence[str]) -> NDArray[np.int64]:
        return rows_having(self._moment.words, self._mask, words)

    def looked_at(self, row: int, phrases: PhraseFinder) -> LookedAt:
        return look(self._moment.text(row), phrases)

    def nearest(self, vectors: Sequence[Vector], counts: Sequence[int]) -> list[list[tuple[int, float]]]:
        return top_k_of_many(self._moment.parts, self._mask, np.stack(vectors), counts, self.identifiers)

    def vector_scores(self, vector: Vector, rows: Sequence[int]) -> Mapping[int, float]:
        ascending = np.array(sorted(rows), dtype=np.int64)
        if not ascending.size:
            return {}
        scores = exact_scores(self._moment.parts, ascending, vector)
        return dict(zip(ascending.tolist(), scores.tolist(), strict=True))

    def text_scores(self, words: Sequence[str]) -> NDArray[np.float64]:
        return bm25.scores(self._moment.words, self._mask, words)
