"""Ranks by similarity and ranks by words made one order (reciprocal rank fusion). Pure.

Scores of the two kinds cannot be compared with each other; ranks can. What a row gets for its ranks is summed in one
order, the vectors' first, and equal sums are in the order of the rows' ids, so that nothing but the ranks decides.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from vecsec_retrieval.model.rows import ScoreParts
from vecsec_retrieval.words.weights import RANK_CONSTANT, TEXT_WEIGHT, VECTOR_WEIGHT

FUSED_DEPTH = 100
"""So many of each kind are ranked at least; a row that is neither has no chance among the first ten."""
_BEST = (VECTOR_WEIGHT + TEXT_WEIGHT) / (RANK_CONSTANT + 1)

Row = TypeVar("Row", bound=Hashable)


class RankedRow(NamedTuple, Generic[Row]):
    """A row that was found."""

    row: Row
    score: float
    parts: ScoreParts


def by_vectors(nearest: Sequence[tuple[Row, float]]) -> list[RankedRow[Row]]:
    """The nearest rows, best first, as they are."""
    return [
        RankedRow(row, score, ScoreParts(vector_score=score, vector_rank=rank))
        for rank, (row, score) in enumerate(nearest, 1)
    ]


def by_words(matching: Sequence[tuple[Row, float]]) -> list[RankedRow[Row]]:
    """The rows with the words, best first, as they are."""
    return [
        RankedRow(row, score, ScoreParts(text_score=score, text_rank=rank))
        for rank, (row, score) in enumerate(matching, 1)
    ]


def fused(
    nearest: Sequence[tuple[Row, float]],
    matching: Sequence[tuple[Row, float]],
    k: int,
    identifiers: Callable[[Sequence[Row]], Iterable[str]],
    missing: "MissingScores[Row]",
) -> list[RankedRow[Row]]:
    """The k best of both, best first: a score of 1 is the first of both."""
    vector_ranks = {row: rank for rank, (row, _) in enumerate(nearest, 1)}
    text_ranks = {row: rank for rank, (row, _) in enumerate(matching, 1)}
    rows = [*vector_ranks, *(row for row in text_ranks if row not in vector_ranks)]
    scores = [(_worth(VECTOR_WEIGHT, vector_ranks.get(row)) + _worth(TEXT_WEIGHT, text_ranks.get(row))) for row in rows]
    places = range(len(rows))
    ranked = sorted(zip((-score for score in scores), identifiers(rows), places, strict=True))[:k]
    found = [rows[place] for _, _, place in ranked]
    vector_scores = dict(nearest) | missing.vector_scores([row for row in found if row not in vector_ranks])
    text_scores = dict(matching) | missing.text_scores([row for row in found if row not in text_ranks])
    return [
        RankedRow(
            row,
            -negative / _BEST,
            ScoreParts(vector_scores.get(row), vector_ranks.get(row), text_scores.get(row), text_ranks.get(row)),
        )
        for row, (negative, _, _) in zip(found, ranked, strict=True)
    ]


class MissingScores(NamedTuple, Generic[Row]):
    """What rows score by what they are not among the best of."""

    vector_scores: Callable[[Sequence[Row]], Mapping[Row, float]]
    text_scores: Callable[[Sequence[Row]], Mapping[Row, float]]
    """Without those that have none of the words."""


def _worth(weight: float, rank: int | None) -> float:
    return 0.0 if rank is None else weight / (RANK_CONSTANT + rank)
