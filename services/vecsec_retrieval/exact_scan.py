"""The k most similar rows among those that a mask leaves, found exactly."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.rows import Matrix, Vector

Mask: TypeAlias = NDArray[np.bool_]
"""Which rows count, of shape (rows,)."""

GATHER_BELOW_SHARE = 0.25
"""Below this share of rows it is faster to copy the rows together than to score all of them."""

_SLACK = 1e-5
"""More than 32-bit scores of a normalised row can be off by, whatever order they were summed in."""


def top_k(
    matrix: Matrix, mask: Mask, query: Vector, k: int, identifier: Callable[[int], str]
) -> list[tuple[int, float]]:
    """Row numbers and cosine similarities in [-1, 1], best first; equal scores in the order of `identifier(row)`.

    `matrix` has normalised rows, `query` length 1. The answer depends on the masked rows alone, not on where they lie
    among others: candidates are found with 32-bit scores, then scored again row by row with 64 bits.
    """
    rows = np.flatnonzero(mask)
    if rows.size == 0:
        return []
    scores = matrix[rows] @ query if rows.size < GATHER_BELOW_SHARE * len(mask) else (matrix @ query)[rows]
    if k < rows.size:
        kth_best = np.partition(scores, rows.size - k)[rows.size - k]
        rows = rows[scores >= kth_best - _SLACK]
    exact = (matrix[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1).clip(-1.0, 1.0)
    ranked = sorted(zip((-exact).tolist(), (identifier(row) for row in rows.tolist()), rows.tolist(), strict=True))
    return [(row, -negative) for negative, _, row in ranked[:k]]
