"""Where a word is."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Occurrences(NamedTuple):
    """The rows that have a word, ascending, and how often each does."""

    rows: NDArray[np.int32]
    counts: NDArray[Any]
    """Whole numbers."""


NO_OCCURRENCES = Occurrences(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))
