"""Ranks by similarity and ranks by words made one order (reciprocal rank fusion). Pure.

Scores of the two kinds cannot be compared with each other; ranks can. What a row gets for its ranks is summed in one
order, the vectors' first, and equal sums are in the order of the rows' ids, so that nothing but the ranks decides.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.best_first import Identifiers, best_first
from vecsec_retrieval.model.rows import ScoreParts
from vecsec_retrieval.words.weights import RANK_CONSTANT, TEXT_WEIGHT, VECTOR_WEIGHT

FUSED_DEPTH = 100
"""So many of each kind are fused, however many are wanted: pages of one answer, and answers of other lengths, agree."""
_BEST = (VECTOR_WEIGHT + TEXT_WEIGHT) / (RANK_CONSTANT + 1)

Scored: TypeAlias = Sequence[tuple[int, float]]
"""Rows and their scores, best first."""


class RankedRow(NamedTuple):
    """A row that was found."""

    row: int
    score: float
    parts: ScoreParts


class MissingScores(NamedTuple):
    """What rows score by what they are not among the best of."""

    vector_scores: Callable[[Sequence[int]], Mapping[int, float]]
    text_scores: Callable[[Sequence[int]], Mapping[int, float]]
    """Without those that have none of the words."""


def by_vectors(nearest: Scored) -> list[RankedRow]:
    """The nearest rows as they are."""
    return [
        RankedRow(row, score, ScoreParts(vector_score=score, vector_rank=rank))
        for rank, (row, score) in enumerate(nearest, 1)
    ]


def by_words(matching: Scored) -> list[RankedRow]:
    """The rows with the words as they are."""
    return [
        RankedRow(row, score, ScoreParts(text_score=score, text_rank=rank))
        for rank, (row, score) in enumerate(matching, 1)
    ]


def fused(
    nearest: Scored, matching: Scored, k: int, identifiers: Identifiers, missing: MissingScores
) -> list[RankedRow]:
    """The k best of both, best first: a score of 1 is the first of both. Behind those that are among the `FUSED_DEPTH`
    best of one kind or the other come further ones as `nearest` ranks them."""
    head = _fused(nearest[:FUSED_DEPTH], matching[:FUSED_DEPTH], k, identifiers, missing)
    if len(head) == k or len(nearest) <= FUSED_DEPTH:
        return head
    further = [(rank, row, score) for rank, (row, score) in enumerate(nearest, 1) if rank > FUSED_DEPTH]
    in_head = {each.row for each in head}
    further = [each for each in further if each[1] not in in_head][: k - len(head)]
    text_scores = missing.text_scores([row for _, row, _ in further])
    return head + [
        RankedRow(
            row,
            VECTOR_WEIGHT / (RANK_CONSTANT + rank) / _BEST,
            ScoreParts(vector_score=score, vector_rank=rank, text_score=text_scores.get(row)),
        )
        for rank, row, score in further
    ]


def _fused(
    nearest: Scored, matching: Scored, k: int, identifiers: Identifiers, missing: MissingScores
) -> list[RankedRow]:
    vector_rows, text_rows = _rows(nearest), _rows(matching)
    rows, places = np.unique(np.concatenate((vector_rows, text_rows)), return_inverse=True)
    worth = np.zeros(len(rows))
    worth[places[: len(nearest)]] += _worth(VECTOR_WEIGHT, len(nearest))
    worth[places[len(nearest) :]] += _worth(TEXT_WEIGHT, len(matching))
    best = best_first(rows, worth, k, identifiers)
    found: list[int] = rows[best].tolist()
    vector_ranks = dict(zip(vector_rows.tolist(), range(1, len(nearest) + 1), strict=True))
    text_ranks = dict(zip(text_rows.tolist(), range(1, len(matching) + 1), strict=True))
    vector_scores = {**dict(nearest), **missing.vector_scores([row for row in found if row not in vector_ranks])}
    text_scores = {**dict(matching), **missing.text_scores([row for row in found if row not in text_ranks])}
    return [
        RankedRow(
            row,
            score,
            ScoreParts(vector_scores.get(row), vector_ranks.get(row), text_scores.get(row), text_ranks.get(row)),
        )
        for row, score in zip(found, (worth[best] / _BEST).tolist(), strict=True)
    ]


def _rows(scored: Scored) -> NDArray[np.int64]:
    return np.array([row for row, _ in scored], dtype=np.int64)


def _worth(weight: float, count: int) -> NDArray[np.float64]:
    """What each rank is worth, from the first on."""
    ranks = np.arange(1, count + 1, dtype=np.float64)
    worth: NDArray[np.float64] = weight / (RANK_CONSTANT + ranks)
    return worth
