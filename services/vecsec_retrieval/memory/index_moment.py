"""An index of a collection as it is at one moment: what is written later changes nothing of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.exact_scan import Mask, ScanRows, living_visible, with_unknown
from vecsec_retrieval.memory.label_runs import LabelRuns
from vecsec_retrieval.memory.postings.bm25 import RowWords
from vecsec_retrieval.memory.postings.later_postings import LaterPostings, LaterWords
from vecsec_retrieval.memory.snapshot_rows import SnapshotRows
from vecsec_retrieval.model.rows import Document, Metadata
from vecsec_retrieval.visibility.label_table import Visible


@dataclass(frozen=True, slots=True)
class IndexMoment:
    """The index at one moment. All arrays have as many rows; row numbers are positions in them."""

    parts: Sequence[ScanRows]
    label_codes: NDArray[np.int32]
    key_set_codes: NDArray[np.int32]
    alive: Mask
    base: SnapshotRows | None
    """The first rows."""
    later: Sequence[Document]
    """The others, without embeddings. May be longer than the arrays: later rows are not part of the moment."""
    labels: Sequence[Label]
    """By code."""
    key_sets: Sequence[frozenset[str]]
    """The sets of metadata keys that rows have, by code. Both may be longer than what the moment's rows need."""
    later_words: LaterPostings
    """Of the others. As `later`, it may have more."""
    later_lengths: NDArray[np.int32]
    """How many words each of the others has."""
    label_runs: LabelRuns | None = None
    """Of the first rows, as long as none of them was relabelled."""

    @property
    def words(self) -> Sequence[RowWords]:
        """The words of all rows, the snapshot's apart from the others'."""
        later = LaterWords(self.later_words, self.later_lengths)
        return (later,) if self.base is None else (self.base.words, later)

    @property
    def base_rows(self) -> int:
        """How many rows are the snapshot's."""
        return 0 if self.base is None else len(self.base)

    def scan_waits_for_disk(self, mask: Mask) -> bool:
        """Whether a scan of these rows may have to wait until the kernel has read some of them. Of others nothing
        shows: time would tell how many there are."""
        return self.base is not None and self.base.scan_waits_for_disk(np.flatnonzero(mask[: len(self.base)]))

    def texts_wait_for_disk(self, rows: Sequence[int]) -> bool:
        """The same of reading these rows' documents."""
        return self.base is not None and self.base.texts_wait_for_disk([row for row in rows if row < len(self.base)])

    def require_unchanged(self) -> None:
        """To be called before rows are read; see `SnapshotRows.require_unchanged`."""
        if self.base is not None:
            self.base.require_unchanged()

    def mask(self, visible: Visible) -> Mask:
        """The living rows whose label is visible; labels beyond the array are not."""
        if self.label_runs is None or not self.label_runs.are_few:
            return living_visible(self.label_codes, self.alive, visible)
        mask = np.zeros(len(self.alive), dtype=np.bool_)
        self.label_runs.mask_into(mask, self.alive, with_unknown(visible))
        rows = self.base_rows
        if rows < len(mask):
            mask[rows:] = living_visible(self.label_codes[rows:], self.alive[rows:], visible)
        return mask

    def metadata_keys(self, mask: Mask) -> frozenset[str]:
        """The metadata keys of these rows."""
        codes = np.flatnonzero(np.bincount(self.key_set_codes[mask])).tolist()
        return frozenset().union(*(self.key_sets[code] for code in codes))

    def document(self, row: int) -> Document:
        """The document of a row, without its embedding.

        Raises:
            TornSnapshot: if it is not what was written.
        """
        label = self.labels[self.label_codes[row]]
        if self.base is None or row >= len(self.base):
            document = self.later[row - self.base_rows]
            return document if document.label is label else replace(document, label=label)
        return Document(self.base.document_id(row), self.base.text(row), label, self.base.metadata(row))

    def text(self, row: int) -> str:
        """The text of a row. Raises what `document` does."""
        if self.base is None or row >= len(self.base):
            return self.later[row - self.base_rows].text
        return self.base.text(row)

    def document_id(self, row: int) -> str:
        """The id of a row."""
        if self.base is None or row >= len(self.base):
            return self.later[row - self.base_rows].document_id
        return self.base.document_id(row)

    def metadata(self, row: int) -> Metadata:
        """The callers' own metadata of a row."""
        if self.base is None or row >= len(self.base):
            return self.later[row - self.base_rows].metadata
        return self.base.metadata(row)
