"""Ids and labels of a collection that is too large to be in memory: by them it is known what a search has to look at.

A row takes a twentieth of what it takes in an index. Nothing here decides what a caller gets: each row that the store
finds is judged by the label that it carries itself.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.label_table import LabelTable, Visible

BYTES_PER_ROW = 160
"""Of ids of ten characters: the id, its places in list and dictionary, and a number (measured: 150)."""
_BYTES_BESIDE_ID = 100
_REMOVED = -1
_COMPACT_ABOVE_REMOVED = 1_000


class IdIndex:
    """Written as an index is: on the event loop alone, once others know it."""

    def __init__(self) -> None:
        self.labels = LabelTable()
        self._ids: list[str] = []
        self._id_bytes = 0
        self._codes = array("i")
        self._row_of_id: dict[str, int] = {}
        self._counts = array("q")

    def __len__(self) -> int:
        return len(self._row_of_id)

    @property
    def approximate_bytes(self) -> int:
        """Memory that the id index takes."""
        return self._id_bytes + len(self._ids) * _BYTES_BESIDE_ID + self.labels.approximate_bytes

    def upsert(self, documents: Sequence[Document]) -> None:
        """Add documents, replacing those of the same id."""
        self.delete([document.document_id for document in documents])
        for document in documents:
            code = self.labels.add(document.label)
            self._counts.extend([0] * (code + 1 - len(self._counts)))
            self._counts[code] += 1
            self._row_of_id[document.document_id] = len(self._ids)
            self._ids.append(document.document_id)
            self._id_bytes += sys.getsizeof(document.document_id)
            self._codes.append(code)

    def delete(self, document_ids: Iterable[str]) -> None:
        """Remove documents; ids that are not there are ignored."""
        for document_id in document_ids:
            row = self._row_of_id.pop(document_id, None)
            if row is not None:
                self._counts[self._codes[row]] -= 1
                self._codes[row] = _REMOVED
        if len(self._ids) - len(self) > max(_COMPACT_ABOVE_REMOVED, len(self) // 4):
            codes = np.array(self._codes)
            rows = np.flatnonzero(codes != _REMOVED)
            self._ids = [self._ids[row] for row in rows.tolist()]
            self._id_bytes = sum(map(sys.getsizeof, self._ids))
            self._codes = array("i", codes[rows].tobytes())
            self._row_of_id = {document_id: row for row, document_id in enumerate(self._ids)}

    def count(self, visible: Visible) -> int:
        """How many documents have one of these labels; labels beyond the array are not among them."""
        counts = np.array(self._counts)[: len(visible)]
        return int(counts[visible[: len(counts)]].sum())

    def ids(self, visible: Visible) -> list[str]:
        """The ids of the documents that have one of these labels."""
        codes = np.array(self._codes)
        known = np.zeros(max(len(visible), int(codes.max(initial=_REMOVED)) + 1) + 1, dtype=np.bool_)
        known[: len(visible)] = visible  # the last entry is what removed rows find
        return [self._ids[row] for row in np.flatnonzero(known[codes]).tolist()]
