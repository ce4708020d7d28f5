"""Orders rows by their scores, equal ones by their identifiers: by nothing that depends on where they lie."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Identifiers: TypeAlias = Callable[[Sequence[int]], Iterable[str]]
"""The identifiers of rows by their numbers; they are looked up where scores are equal, for it takes a µs each."""


def best_first(rows: NDArray[np.int64], scores: NDArray[np.float64], count: int, identifiers: Identifiers) -> list[int]:
    """The places, in `rows`, of the `count` best rows, or of all if they are fewer."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # Where each run of equal scores begins, and where the last one ends.
    ends = np.concatenate(([0], np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, [len(order)]))
    is_tied = (np.diff(ends) > 1) & (ends[:-1] < count)
    for start, end in zip(ends[:-1][is_tied].tolist(), ends[1:][is_tied].tolist(), strict=True):
        tied = order[start:end]
        of_tied = zip(identifiers(rows[tied].tolist()), tied.tolist(), strict=True)
        order[start:end] = [place for _, place in sorted(of_tied)]
    found: list[int] = order[:count].tolist()
    return found
