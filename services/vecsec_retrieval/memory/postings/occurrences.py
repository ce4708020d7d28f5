"""Where a word is."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Occurrences(NamedTuple):
    """The rows that have a word, ascending, and how often each does."""

    rows: NDArray[np.int32]
    counts: NDArray[Any]
    """Whole numbers."""

    def among(self, mask: NDArray[np.bool_]) -> "Occurrences":
        """Those of the masked rows alone."""
        is_there = mask[self.rows]
        return Occurrences(self.rows[is_there], self.counts[is_there])


NO_OCCURRENCES = Occurrences(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))
