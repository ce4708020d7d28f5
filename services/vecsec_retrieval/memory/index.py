"""An in-memory index of one collection: every tagged row, ready for an exact scan.

Written on the event loop alone. Rows are only ever appended and the mask of living rows is replaced, not changed, so
that a snapshot stays as it is while a thread scans it.
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory import quantised_rows
from vecsec_retrieval.memory.exact_scan import Mask, ScanRows, living_visible
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.label_table import LabelTable, Visible

Scalar = TypeVar("Scalar", bound=np.generic)

_STATES = itertools.count()
"""Of all indexes of this process."""
_FIRST_CAPACITY = 64
_COMPACT_ABOVE_DEAD_SHARE = 0.25
_SPARE_SHARE = 8
_BYTES_PER_ROW = 400
"""What a row costs beside its vector and what is counted by itself: objects, and places in the tables (measured)."""


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """The index at one moment. All arrays have as many rows; row numbers are positions in them."""

    scanned: ScanRows
    label_codes: NDArray[np.int32]
    key_set_codes: NDArray[np.int32]
    alive: Mask
    documents: Sequence[Document]
    """Without embeddings. May be longer than the arrays: later rows are not part of the snapshot."""
    key_sets: Sequence[frozenset[str]]
    """The sets of metadata keys that rows have, by code. May be longer than what the snapshot's rows need."""

    def mask(self, visible: Visible) -> Mask:
        """The living rows whose label is visible; labels beyond the array are not."""
        return living_visible(self.label_codes, self.alive, visible)

    def metadata_keys(self, mask: Mask) -> frozenset[str]:
        """The metadata keys of these rows."""
        codes = np.flatnonzero(np.bincount(self.key_set_codes[mask])).tolist()
        return frozenset().union(*(self.key_sets[code] for code in codes))


class CollectionIndex:
    """Vectors, label codes and documents of one collection."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self.untagged_ids: set[str] = set()
        """Ids of rows in the store that are no documents, for want of whole tags."""
        self._count = 0
        self._matrix = np.empty((0, self._dimensions), dtype=np.float32)
        self._quantised_rows = quantised_rows.empty(0, dimensions)
        self._label_codes = np.empty(0, dtype=np.int32)
        self._alive = np.empty(0, dtype=np.bool_)
        self._documents: list[Document] = []
        self._row_of_id: dict[str, int] = {}
        self._key_set_codes = np.empty(0, dtype=np.int32)
        self._key_sets: list[frozenset[str]] = []
        self._code_of_key_set: dict[frozenset[str], int] = {}
        self._document_bytes = 0
        self.state = next(_STATES)
        """Another number after each change; no other index has it."""
        self._snapshot: IndexSnapshot | None = None
        self.labels = LabelTable()
        """The labels of all rows, and perhaps of rows that are gone."""

    def __len__(self) -> int:
        return len(self._row_of_id)

    @property
    def approximate_bytes(self) -> int:
        """Memory that the index takes."""
        arrays = self._matrix.nbytes + self._quantised_rows.nbytes
        rows = self._document_bytes + len(self._documents) * _BYTES_PER_ROW
        return arrays + rows + self.labels.approximate_bytes

    def upsert(self, documents: Sequence[Document]) -> None:
        """Add documents with embeddings, replacing those of the same id."""
        if not documents:
            return
        self._change()
        self._mark_dead(document.document_id for document in documents)
        start, end = self._count, self._count + len(documents)
        self.make_room(len(documents))
        embeddings = [document.embedding for document in documents if document.embedding is not None]
        self._matrix[start:end] = normalised(np.stack(embeddings))
        self._quantised_rows.set(start, quantised_rows.quantise(self._matrix[start:end]))
        for row, document in enumerate(documents, start):
            code = self._label_codes[row] = self.labels.add(document.label)
            self._key_set_codes[row] = self._key_set_code(frozenset(document.metadata))
            self._row_of_id[document.document_id] = row
            # Rows with equal labels share one, for there may be as many labels as rows.
            self._documents.append(replace(document, label=self.labels.labels[code], embedding=None))
            self._document_bytes += _bytes_of(document)
            self.untagged_ids.discard(document.document_id)
        self._alive[start:end] = True
        self._count = end

    def delete(self, document_ids: Iterable[str]) -> None:
        """Remove documents; ids that are not there are ignored."""
        document_ids = list(document_ids)
        self._change()
        self.untagged_ids.difference_update(document_ids)
        self._mark_dead(document_ids)

    def snapshot(self) -> IndexSnapshot:
        """The index as it is now; the same one until it changes."""
        if self._snapshot is None:
            count = self._count
            self._snapshot = IndexSnapshot(
                ScanRows(self._matrix[:count], self._quantised_rows[:count]),
                self._label_codes[:count],
                self._key_set_codes[:count],
                self._alive[:count],
                self._documents,
                self._key_sets,
            )
        return self._snapshot

    @property
    def is_worth_compacting(self) -> bool:
        """Whether many of the rows are dead."""
        return self._count - len(self) > self._count * _COMPACT_ABOVE_DEAD_SHARE

    def compaction(self) -> "Callable[[], CollectionIndex]":
        """What makes an index of the living rows as they are now. It may run in a thread while this index is written
        to: of 100,000 rows, each with a label of its own, it takes a second."""
        snapshot, labels, untagged_ids = self.snapshot(), self.labels, set(self.untagged_ids)

        def compacted() -> CollectionIndex:
            index = CollectionIndex(self._dimensions)
            index.untagged_ids = untagged_ids
            index._take(snapshot, labels)
            index.make_room(len(index) // _SPARE_SHARE)  # here, for the next write would do it on the event loop
            return index

        return compacted

    def find(self, document_id: str) -> Document | None:
        """The document of this id, without its embedding."""
        row = self._row_of_id.get(document_id)
        return None if row is None else self._documents[row]

    def row(self, document_id: str) -> int | None:
        """The row number of this id's document, in a snapshot that is taken now."""
        return self._row_of_id.get(document_id)

    def _take(self, snapshot: IndexSnapshot, labels: LabelTable) -> None:
        """Become the living rows of another index, which may be written to meanwhile; its labels and sets of keys that
        no row has any more are forgotten."""
        rows = np.flatnonzero(snapshot.alive)
        self._matrix, self._quantised_rows = snapshot.scanned.exact[rows], snapshot.scanned.quantised[rows]
        self._alive = np.ones(len(rows), dtype=np.bool_)
        self._documents = [snapshot.documents[row] for row in rows.tolist()]
        self._row_of_id = {document.document_id: row for row, document in enumerate(self._documents)}
        self._document_bytes = sum(map(_bytes_of, self._documents))
        self._count = len(rows)
        used, self._label_codes = _renumbered(snapshot.label_codes[rows])
        self.labels = LabelTable(labels.labels[code] for code in used.tolist())
        used, self._key_set_codes = _renumbered(snapshot.key_set_codes[rows])
        self._key_sets = [snapshot.key_sets[code] for code in used.tolist()]
        self._code_of_key_set = {keys: code for code, keys in enumerate(self._key_sets)}

    def lacks_room(self, count: int) -> bool:
        """Whether so many more documents make all arrays move."""
        return self._count + count > len(self._matrix)

    def make_room(self, more: int) -> None:
        """Have room for so many more documents. It may run in a thread while nobody writes: whoever reads meanwhile
        finds the same rows in old arrays and new ones, and of 100,000 rows it takes more than 0.1 s."""
        if not self.lacks_room(more):
            return
        count = self._count
        capacity = max(count + more, _FIRST_CAPACITY, len(self._matrix) * 3 // 2)
        matrix = np.empty((capacity, self._dimensions), dtype=np.float32)
        matrix[:count] = self._matrix[:count]
        quantised = self._quantised_rows.grown(count, capacity)
        label_codes = _grown(self._label_codes, count, capacity)
        key_set_codes = _grown(self._key_set_codes, count, capacity)
        alive = _grown(self._alive, count, capacity)
        # Only when there is memory for all of them.
        self._quantised_rows, self._label_codes, self._key_set_codes = quantised, label_codes, key_set_codes
        self._alive, self._matrix = alive, matrix

    def drop_snapshot(self) -> None:
        """Take a new snapshot next time; the one that is kept may be all that keeps arrays alive that were moved."""
        self._snapshot = None

    def _change(self) -> None:
        self.state = next(_STATES)
        self.drop_snapshot()

    def _key_set_code(self, keys: frozenset[str]) -> int:
        code = self._code_of_key_set.get(keys)
        if code is None:
            code = self._code_of_key_set[keys] = len(self._key_sets)
            self._key_sets.append(keys)
        return code

    def _mark_dead(self, document_ids: Iterable[str]) -> None:
        rows = [self._row_of_id.pop(document_id) for document_id in document_ids if document_id in self._row_of_id]
        if not rows:
            return
        alive = self._alive.copy()  # snapshots keep the mask that they have
        alive[rows] = False
        self._alive = alive


def _bytes_of(document: Document) -> int:
    """What text, id and metadata take; texts are as wide as their widest character."""
    metadata = document.metadata
    entries = sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in metadata.items())
    return sys.getsizeof(document.text) + sys.getsizeof(document.document_id) + sys.getsizeof(metadata) + entries


def _renumbered(codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The codes that occur, and all codes as positions among these."""
    used, positions = np.unique(codes, return_inverse=True)
    return used.astype(np.int64), positions.astype(np.int32)


def _grown(array: NDArray[Scalar], count: int, capacity: int) -> NDArray[Scalar]:
    grown = np.empty(capacity, dtype=array.dtype)
    grown[:count] = array[:count]
    return grown
