"""The k most similar rows among those that a mask leaves, found exactly."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import simsimd
from numpy.typing import NDArray

from vecsec_retrieval.memory.quantised_rows import QuantisedRows
from vecsec_retrieval.model.rows import Matrix, Vector
from vecsec_retrieval.visibility.label_table import Visible

Mask: TypeAlias = NDArray[np.bool_]
"""Which rows count, of shape (rows,)."""

GATHER_BELOW_SHARE = 0.25
"""Below this share of rows it is faster to copy the rows together than to look at all of them."""
RULE_OUT_ABOVE = 600
"""With fewer rows there is nothing to gain by ruling most of them out first."""

_ROUNDING = 2.0**-24
"""Of one 32-bit operation on numbers up to 1."""


@dataclass(frozen=True, slots=True)
class ScanRows:
    """What is scanned: normalised rows, and the same in 8 bits a number."""

    exact: Matrix
    quantised: QuantisedRows


def living_visible(label_codes: NDArray[np.int32], alive: Mask, visible: Visible) -> Mask:
    """The living rows whose label is visible; labels beyond the array are not."""
    known = np.zeros(len(visible) + 1, dtype=np.bool_)
    known[:-1] = visible
    bear_visible = known.take(label_codes, mode="clip")  # codes beyond the array are clipped to its end
    return np.logical_and(bear_visible, alive, out=bear_visible)


def top_k(
    scanned: ScanRows, mask: Mask, query: Vector, k: int, identifiers: Callable[[Sequence[int]], Iterable[str]]
) -> list[tuple[int, float]]:
    """Row numbers and cosine similarities in [-1, 1], best first; equal scores in the order of the rows' identifiers.

    `query` has length 1. The answer depends on the masked rows alone, not on where they lie among others: rows that
    cannot be among the best are ruled out by the quantised ones, then by 32-bit scores; what is left is scored again
    row by row with 64 bits.
    """
    matrix = scanned.exact
    (rows,) = mask.nonzero()
    if rows.size > max(k, RULE_OUT_ABOVE):
        rows = _not_ruled_out(scanned.quantised, rows, query, k)
    if rows.size == 0:
        return []
    if k < rows.size:
        is_few = rows.size < GATHER_BELOW_SHARE * len(mask)
        scores = _scores(matrix[rows], query) if is_few else _scores(matrix, query)[rows]
        rows = rows[scores >= _kth_best(scores, k) - 2 * query.size * _ROUNDING]  # in whatever order they were summed
    # NumPy's bare functions: its methods for the same take twice as long for so few rows.
    exact = np.add.reduce(matrix[rows].astype(np.float64) * query.astype(np.float64), axis=1)
    exact = np.maximum(np.minimum(exact, 1.0), -1.0)
    numbers = rows.tolist()
    ranked = sorted(zip((-exact).tolist(), identifiers(numbers), numbers, strict=True))
    return [(row, -negative) for negative, _, row in ranked[:k]]


def _not_ruled_out(quantised_rows: QuantisedRows, rows: NDArray[np.int64], query: Vector, k: int) -> NDArray[np.int64]:
    """The rows of which there are not k others that are certainly better."""
    if rows.size < GATHER_BELOW_SHARE * len(quantised_rows):
        at_least, at_most = quantised_rows[rows].bounds(query)
    else:
        at_least, at_most = (bound[rows] for bound in quantised_rows.bounds(query))
    return rows[at_most >= _kth_best(at_least, k)]


def _scores(matrix: Matrix, query: Vector) -> NDArray[np.float32]:
    """The rows' dot products with the query, in half of the time that a matrix product takes for one vector. At least
    one row; both of 32 bits, each row's numbers side by side."""
    found = simsimd.cdist(matrix, query.reshape(1, -1), metric="dot", out_dtype="float32")
    return np.asarray(found).reshape(-1)


def _kth_best(scores: NDArray[np.float32], k: int) -> np.float32:
    best: np.float32 = np.partition(scores, scores.size - k)[scores.size - k]
    return best
