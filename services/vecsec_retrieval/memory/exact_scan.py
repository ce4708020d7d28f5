"""The k most similar rows among those that a mask leaves, found exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np
import simsimd
from numpy.typing import NDArray

from vecsec_retrieval.memory.best_first import Identifiers, best_first
from vecsec_retrieval.memory.quantised_rows import QuantisedRows
from vecsec_retrieval.model.rows import Matrix, Vector
from vecsec_retrieval.model.similarity import cosines as cosines  # noqa: PLC0414  who ranks rows finds them here, too
from vecsec_retrieval.model.similarity import dot_products as dot_products  # noqa: PLC0414
from vecsec_retrieval.visibility.label_table import Visible

Mask: TypeAlias = NDArray[np.bool_]
"""Which rows count, of shape (rows,)."""
Rows: TypeAlias = NDArray[np.int64]
"""Row numbers, ascending."""

GATHER_BELOW_SHARE = 0.15
"""Below this share of the rows from the first to the last it is faster to copy them together than to look at all."""
RULE_OUT_ABOVE = 600
"""With fewer rows there is nothing to gain by ruling most of them out first."""

_BOUNDS_AT_ONCE = 2_000_000
"""Pairs of row and query; each takes 20 bytes."""

_ROUNDING = 2.0**-24
"""Of one 32-bit operation on numbers up to 1."""

Scalar = TypeVar("Scalar", np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class ScanRows:
    """What is scanned: normalised rows, and the same in 8 bits a number."""

    exact: Matrix
    quantised: QuantisedRows
    require_whole: Callable[[Rows], None] | None = None
    """Called with the rows of `exact` that are about to be read, where they may not be what was written; raises then.
    The quantised ones are."""

    def __len__(self) -> int:
        return len(self.exact)

    def bounds(self, rows: Rows, queries: Matrix) -> NDArray[np.float32]:
        """At least and at most what these rows' scores are, of shape (queries, 2, rows); ascending, at least one."""
        span = _span(rows)
        if rows.size < GATHER_BELOW_SHARE * (span.stop - span.start):
            return self.quantised[rows].bounds(queries)
        found = self.quantised[span].bounds(queries)
        return (
            found if rows.size == found.shape[2] else found.take(rows - span.start, axis=2)
        )  # [:, :, rows] takes 8 times

    def scores(self, rows: Rows, query: Vector) -> NDArray[np.float32]:
        """These rows' dot products with the query, in whatever order they were summed; ascending, at least one."""
        self._require_whole(rows)
        span = _span(rows)
        if rows.size < GATHER_BELOW_SHARE * (span.stop - span.start):
            return _scores(self.exact[rows], query)
        scores: NDArray[np.float32] = _scores(self.exact[span], query)[rows - span.start]
        return scores

    def exact_scores(self, rows: Rows, query: Vector) -> NDArray[np.float64]:
        """The same with 64 bits: what a row scores does not depend on the other rows."""
        self._require_whole(rows)
        return dot_products(self.exact[rows], query)

    def gathered(self, rows: Rows) -> "ScanRows":
        """These rows alone, copied."""
        self._require_whole(rows)
        return ScanRows(self.exact[rows], self.quantised[rows])

    def _require_whole(self, rows: Rows) -> None:
        if self.require_whole is not None:
            self.require_whole(rows)


def living_visible(label_codes: NDArray[np.int32], alive: Mask, visible: Visible) -> Mask:
    """The living rows whose label is visible; labels beyond the array are not."""
    bear_visible = with_unknown(visible).take(label_codes, mode="clip")  # codes beyond the array are clipped to its end
    return np.logical_and(bear_visible, alive, out=bear_visible)


def with_unknown(visible: Visible) -> Visible:
    """The same, and that labels beyond the array are not visible at its end."""
    known = np.zeros(len(visible) + 1, dtype=np.bool_)
    known[:-1] = visible
    return known


def top_k(
    parts: Sequence[ScanRows], mask: Mask, query: Vector, k: int, identifiers: Identifiers
) -> list[tuple[int, float]]:
    """Row numbers and cosine similarities in [-1, 1], best first; equal scores in the order of the rows' identifiers.

    The parts' rows are numbered on from part to part. `query` has length 1. The answer depends on the masked rows
    alone, not on where they lie among others: rows that cannot be among the best are ruled out by the quantised ones,
    then by 32-bit scores; what is left is scored again row by row with 64 bits.
    """
    return top_k_of_many(parts, mask, query.reshape(1, -1), [k], identifiers)[0]


def top_k_of_many(
    parts: Sequence[ScanRows],
    mask: Mask,
    queries: Matrix,
    ks: Sequence[int],
    identifiers: Identifiers,
) -> list[list[tuple[int, float]]]:
    """The same for several queries with a k each: what rules rows out is looked at once for all of them. Each answer is
    that of its query alone, bit for bit, for it follows from 64-bit scores of single rows."""
    (rows,) = mask.nonzero()
    if rows.size <= max(*ks, RULE_OUT_ABOVE):
        return [_ranked(parts, rows, query, k, identifiers) for query, k in zip(queries, ks, strict=True)]
    ranked = []
    at_once = max(1, _BOUNDS_AT_ONCE // rows.size)
    for start in range(0, len(ks), at_once):
        some = slice(start, start + at_once)
        bounds = _of_parts(parts, rows, partial(_bounds, queries=queries[some]))
        for query, k, (at_least, at_most) in zip(queries[some], ks[some], bounds, strict=True):
            left = rows[at_most >= _kth_best(at_least, k)]
            ranked.append(_ranked(parts, left, query, k, identifiers))
    return ranked


def _bounds(part: ScanRows, rows: Rows, queries: Matrix) -> NDArray[np.float32]:
    return part.bounds(rows, queries)


def _ranked(
    parts: Sequence[ScanRows],
    rows: Rows,
    query: Vector,
    k: int,
    identifiers: Identifiers,
) -> list[tuple[int, float]]:
    """The k best of these rows."""
    if rows.size == 0:
        return []
    if k < rows.size:
        scores = _of_parts(parts, rows, lambda part, own: part.scores(own, query))
        rows = rows[scores >= _kth_best(scores, k) - 2 * query.size * _ROUNDING]
    exact = exact_scores(parts, rows, query)
    places = best_first(rows, exact, k, identifiers)
    return list(zip(rows[places].tolist(), exact[places].tolist(), strict=True))


def exact_scores(parts: Sequence[ScanRows], rows: Rows, query: Vector) -> NDArray[np.float64]:
    """The cosine similarities in [-1, 1] of these rows, at least one."""
    return cosines(_of_parts(parts, rows, lambda part, own: part.exact_scores(own, query)))


def _of_parts(
    parts: Sequence[ScanRows], rows: Rows, measured: Callable[[ScanRows, Rows], NDArray[Scalar]]
) -> NDArray[Scalar]:
    """What is measured of these rows, at least one, each in its part; the last axis is the rows'."""
    if len(parts) == 1:
        return measured(parts[0], rows)
    found, first = [], 0
    for part in parts:
        own = rows[rows.searchsorted(first) : rows.searchsorted(first + len(part))]
        if own.size:
            found.append(measured(part, own - first))
        first += len(part)
    return np.concatenate(found, axis=-1)


def _span(rows: Rows) -> slice:
    """From the first to the last: rows that lie together are scanned where they are, whatever lies elsewhere."""
    return slice(int(rows[0]), int(rows[-1]) + 1)


def _scores(matrix: Matrix, query: Vector) -> NDArray[np.float32]:
    """The rows' dot products with the query, in half of the time that a matrix product takes for one vector. At least
    one row; both of 32 bits, each row's numbers side by side."""
    found = simsimd.cdist(matrix, query.reshape(1, -1), metric="dot", out_dtype="float32")
    return np.asarray(found).reshape(-1)


def _kth_best(scores: NDArray[np.float32], k: int) -> np.float32:
    best: np.float32 = np.partition(scores, scores.size - k)[scores.size - k]
    return best
