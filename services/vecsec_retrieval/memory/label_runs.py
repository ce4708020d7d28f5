"""Where rows that bear the same label lie one after the other, as they do in a snapshot."""

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Mask

_ROWS_OF_A_RUN = 400
"""To look at a run costs what to look at so many rows does (measured)."""


class LabelRuns:
    """The runs of rows with one label."""

    def __init__(self, label_codes: NDArray[np.int32]) -> None:
        """Of the rows that have these labels."""
        changes = np.flatnonzero(np.diff(label_codes)) + 1
        self._starts = np.concatenate(([0], changes))[: len(label_codes)]
        self._ends = np.concatenate((changes, [len(label_codes)]))[: len(label_codes)]
        self._codes = label_codes[self._starts]
        self.are_few = len(self._codes) * _ROWS_OF_A_RUN <= len(label_codes)
        """Whether a mask is made faster by runs than row by row."""

    def mask_into(self, mask: Mask, alive: Mask, known: Mask) -> None:
        """Mark the living rows whose label is known to be visible, in a mask that is empty: in the time that these
        take, however many others there are. The last of `known` is for labels beyond it."""
        visible = known.take(self._codes, mode="clip")
        for start, end in zip(self._starts[visible].tolist(), self._ends[visible].tolist(), strict=True):
            mask[start:end] = alive[start:end]
