"""An index of a collection that is too large for memory: ids and labels on the heap, vectors in a mapped file.

A row takes a tenth of what it takes in memory, and a search is as exact. What a row says is read from the store, and
judged by the label that it carries itself: nothing here decides what a caller gets.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Mask, ScanRows, living_visible
from vecsec_retrieval.memory.vector_file import VectorFile
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.label_table import LabelTable, Visible

BYTES_PER_ROW = 180
"""Of ids of ten characters, on the heap: the id, its places in list and dictionary, and some numbers."""
_BYTES_BESIDE_ID = 105
"""Measured: 100, beside what the arrays take."""
_RELOAD_ABOVE_DEAD = 1_000
_RELOAD_ABOVE_DEAD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class MappedSnapshot:
    """The index at one moment. All arrays have as many rows; row numbers are positions in them."""

    scanned: ScanRows
    label_codes: NDArray[np.int32]
    alive: Mask
    ids: Sequence[str]
    """May be longer than the arrays: later rows are not part of the snapshot."""

    def mask(self, visible: Visible) -> Mask:
        """The living rows whose label is visible; labels beyond the array are not."""
        return living_visible(self.label_codes, self.alive, visible)


class MappedIndex:
    """Written as a `CollectionIndex` is: on the event loop alone, once others know it. Rows that are gone keep their
    place until the collection is loaded anew, for to move the others takes as long as their file is large."""

    def __init__(self, dimensions: int, folder: Path | None) -> None:
        """The vectors' file lies in this folder; see `VectorFile`.

        Raises:
            OSError: if there is no room for it.
        """
        self.labels = LabelTable()
        """The labels of all rows, and perhaps of rows that are gone."""
        self._vectors = VectorFile(dimensions, folder)
        self._ids: list[str] = []
        self._id_bytes = 0
        self._row_of_id: dict[str, int] = {}
        self._label_codes = np.empty(0, dtype=np.int32)
        self._alive = np.empty(0, dtype=np.bool_)
        self._snapshot: MappedSnapshot | None = None

    def __len__(self) -> int:
        return len(self._row_of_id)

    @property
    def approximate_bytes(self) -> int:
        """Memory that the index takes on the heap: the kernel takes that of the file away again where it is needed."""
        arrays = self._label_codes.nbytes + self._alive.nbytes + self._vectors.heap_bytes
        return self._id_bytes + len(self._ids) * _BYTES_BESIDE_ID + arrays + self.labels.approximate_bytes

    @property
    def is_worth_reloading(self) -> bool:
        """Whether most of the rows are dead."""
        dead = len(self._ids) - len(self)
        return dead > max(_RELOAD_ABOVE_DEAD, len(self._ids) * _RELOAD_ABOVE_DEAD_SHARE)

    def upsert(self, documents: Sequence[Document]) -> None:
        """Add documents with embeddings, replacing those of the same id.

        Raises:
            OSError: if there is no room on the disk, which `make_room` finds out before.
        """
        if not documents:
            return
        self.make_room(len(documents))
        self.delete([document.document_id for document in documents])
        start, end = len(self._ids), len(self._ids) + len(documents)
        embeddings = [document.embedding for document in documents if document.embedding is not None]
        self._vectors.put(start, normalised(np.stack(embeddings)))
        for row, document in enumerate(documents, start):
            self._label_codes[row] = self.labels.add(document.label)
            self._row_of_id[document.document_id] = row
            self._ids.append(document.document_id)
            self._id_bytes += sys.getsizeof(document.document_id)
        self._alive[start:end] = True

    def delete(self, document_ids: Iterable[str]) -> None:
        """Remove documents; ids that are not there are ignored."""
        self.drop_snapshot()
        rows = [self._row_of_id.pop(document_id) for document_id in document_ids if document_id in self._row_of_id]
        if rows:
            alive = self._alive.copy()  # snapshots keep the mask that they have
            alive[rows] = False
            self._alive = alive

    def snapshot(self) -> MappedSnapshot:
        """The index as it is now; the same one until it changes."""
        if self._snapshot is None:
            count = len(self._ids)
            self._snapshot = MappedSnapshot(
                self._vectors.rows(count), self._label_codes[:count], self._alive[:count], self._ids
            )
        return self._snapshot

    def row(self, document_id: str) -> int | None:
        """The row number of this id; one beyond a snapshot is none of its rows."""
        return self._row_of_id.get(document_id)

    def make_room(self, more: int) -> None:
        """Have room for so many more documents. It may run in a thread while nobody writes, as the file's own does.

        Raises:
            OSError: if there is none on the disk; then nothing has changed.
        """
        count = len(self._ids)
        if count + more <= self._vectors.capacity:
            return
        self._vectors.make_room(count + more)
        capacity = self._vectors.capacity
        label_codes, alive = np.empty(capacity, dtype=np.int32), np.zeros(capacity, dtype=np.bool_)
        label_codes[:count], alive[:count] = self._label_codes[:count], self._alive[:count]
        self._label_codes, self._alive = label_codes, alive

    def make_ready(self, more: int) -> None:
        """Have room, and have it at hand, so that the event loop may write at once: see `VectorFile.touch`. Raises as
        `make_room` does."""
        self.make_room(more)
        self._vectors.touch(len(self._ids), len(self._ids) + more)

    def drop_snapshot(self) -> None:
        """Take a new snapshot next time; the one that is kept may be all that keeps an old map alive."""
        self._snapshot = None
