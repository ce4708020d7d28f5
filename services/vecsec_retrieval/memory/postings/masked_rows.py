"""Which rows a caller sees, and where they lie together: of a word, those alone are looked at.

Otherwise time would tell in how many hidden rows a word is. Rows of a snapshot lie together by label, so that what a
caller sees is in few runs.
"""

from collections.abc import Callable

import numpy as np

from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.postings.occurrences import NO_OCCURRENCES, Occurrences

MOST_RUNS = 64
"""With more of them, all rows of a word are looked at: seen and hidden rows came by turns, and lie so."""


class MaskedRows:
    """The masked rows of a part."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
        bounds = np.concatenate(([0] * bool(mask[0]), edges, [len(mask)] * bool(mask[-1]))).astype(np.int64)
        self._runs = bounds.reshape(-1, 2)
        """The first of each run, and the one behind its last."""

    @property
    def are_by_turns(self) -> bool:
        """Whether there are too many runs to look at each of them."""
        return len(self._runs) > MOST_RUNS

    def among(self, place: Occurrences) -> Occurrences:
        """Where a word is in a masked row, of all the rows in which it is."""
        if self.are_by_turns:
            stop = int(place.rows.searchsorted(len(self._mask)))
            is_masked = self._mask[place.rows[:stop]]
            return Occurrences(place.rows[:stop][is_masked], place.counts[:stop][is_masked])
        bounds = place.rows.searchsorted(self._runs).tolist()
        return joined([Occurrences(place.rows[first:end], place.counts[first:end]) for first, end in bounds])

    def in_runs(self, between: Callable[[int, int], Occurrences]) -> Occurrences:
        """The same, where it can be asked for those from one row to the one before another."""
        return joined([between(first, end) for first, end in self._runs.tolist()])


def joined(places: list[Occurrences]) -> Occurrences:
    """Some places in one; each is behind the one before."""
    some = [each for each in places if len(each.rows)]
    if len(some) < 2:
        return some[0] if some else NO_OCCURRENCES
    return Occurrences(np.concatenate([each.rows for each in some]), np.concatenate([each.counts for each in some]))
