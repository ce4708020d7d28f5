"""An in-memory index of one collection: the rows of its snapshot, and what came later, ready for an exact scan.

Written on the event loop alone. The snapshot's rows come first and never change. Later rows are only ever appended, and
the mask of living rows is replaced, not changed, so that a moment stays as it is while a thread scans it.
"""

import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory import quantised_rows
from vecsec_retrieval.memory.exact_scan import Mask, ScanRows, living_visible
from vecsec_retrieval.memory.snapshot_rows import SnapshotRows
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Document, Metadata
from vecsec_retrieval.visibility.label_table import LabelTable, Visible

Scalar = TypeVar("Scalar", bound=np.generic)

_STATES = itertools.count()
"""Of all indexes of this process."""
_FIRST_CAPACITY = 64
_BYTES_PER_ROW = 400
"""What a later row costs beside its vector and what is counted by itself: objects, and places in the tables
(measured)."""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """A write that the store has acknowledged."""

    position: int
    """Of the cell's log, after it."""
    upserted: Sequence[Document] = ()
    """With embeddings."""
    deleted: Sequence[str] = ()
    """Ids; those that are not there are ignored."""
    untagged: Sequence[str] = ()
    """Ids of rows that are no documents, for want of whole tags."""


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

    @property
    def base_rows(self) -> int:
        """How many rows are the snapshot's."""
        return 0 if self.base is None else len(self.base)

    @property
    def may_wait_for_disk(self) -> bool:
        """Whether rows lie in a file, of which the kernel may have to read what is asked for."""
        return self.base is not None and self.base.is_mapped

    def mask(self, visible: Visible) -> Mask:
        """The living rows whose label is visible; labels beyond the array are not."""
        return living_visible(self.label_codes, self.alive, visible)

    def metadata_keys(self, mask: Mask) -> frozenset[str]:
        """The metadata keys of these rows."""
        codes = np.flatnonzero(np.bincount(self.key_set_codes[mask])).tolist()
        return frozenset().union(*(self.key_sets[code] for code in codes))

    def document(self, row: int) -> Document:
        """The document of a row, without its embedding.

        Raises:
            TornSnapshot: if it is not what was written.
        """
        if self.base is None or row >= len(self.base):
            return self.later[row - self.base_rows]
        label = self.labels[self.label_codes[row]]
        return Document(self.base.document_id(row), self.base.text(row), label, self.base.metadata(row))

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


class CollectionIndex:
    """Vectors, label codes and documents of one collection."""

    def __init__(self, dimensions: int, base: SnapshotRows | None = None, position: int = 0) -> None:
        """Begin with the rows of a snapshot, which hold the log up to this position; or with none."""
        self._base = base
        self.position = position
        """Of the log: everything up to there is in the index."""
        self.untagged_ids = set() if base is None else set(base.untagged_ids)
        """Ids of rows in the store that are no documents, for want of whole tags."""
        self._first = self._count = self._living = 0 if base is None else len(base)
        self._matrix = np.empty((0, dimensions), dtype=np.float32)
        self._quantised_rows = quantised_rows.empty(0, dimensions)
        self._label_codes = np.empty(0, dtype=np.int32) if base is None else base.label_codes
        self._key_set_codes = np.empty(0, dtype=np.int32) if base is None else base.key_set_codes
        self._alive = np.ones(self._first, dtype=np.bool_)
        self._documents: list[Document] = []
        self._later_rows: dict[str, int] = {}
        self._key_sets = [] if base is None else list(base.key_sets)
        self._code_of_key_set = {keys: code for code, keys in enumerate(self._key_sets)}
        self._document_bytes = 0
        self.state = next(_STATES)
        """Another number after each change; no other index has it."""
        self._moment: IndexMoment | None = None
        self.labels = LabelTable() if base is None else base.labels
        """The labels of all rows, and perhaps of rows that are gone."""

    def __len__(self) -> int:
        return self._living

    @property
    def approximate_bytes(self) -> int:
        """Memory that the index takes, beside files that are mapped into it: the kernel takes that away again where it
        is needed."""
        base = 0 if self._base is None else self._base.heap_bytes
        return base + self.later_bytes + self.labels.approximate_bytes

    @property
    def later_bytes(self) -> int:
        """What of that is for the rows that are not the snapshot's."""
        codes = self._label_codes.nbytes + self._key_set_codes.nbytes + self._alive.nbytes
        arrays = self._matrix.nbytes + self._quantised_rows.nbytes + codes
        return arrays + self._document_bytes + len(self._documents) * _BYTES_PER_ROW

    @property
    def base_rows(self) -> int:
        """How many rows the snapshot has, dead ones, too."""
        return self._first

    @property
    def changed_rows(self) -> int:
        """How many rows came after the snapshot, dead ones, too, or are dead in it."""
        return self._count - (self._living - len(self._later_rows))

    @property
    def is_torn(self) -> bool:
        """Whether a row of the snapshot turned out not to be what was written."""
        return self._base is not None and self._base.is_torn

    def apply(self, change: IndexChange) -> None:
        """Do what was written."""
        if change.deleted or change.untagged:
            self._delete([*change.deleted, *change.untagged])
            self.untagged_ids.update(change.untagged)
        if change.upserted:
            self._upsert(change.upserted)
        self.position = max(self.position, change.position)

    def moment(self) -> IndexMoment:
        """The index as it is now; the same one until it changes."""
        if self._moment is None:
            count, later = self._count, self._count - self._first
            parts = () if self._base is None else (self._base.scanned,)
            if later or self._base is None:
                parts = (*parts, ScanRows(self._matrix[:later], self._quantised_rows[:later]))
            self._moment = IndexMoment(
                parts,
                self._label_codes[:count],
                self._key_set_codes[:count],
                self._alive[:count],
                self._base,
                self._documents,
                self.labels.labels,
                self._key_sets,
            )
        return self._moment

    def row(self, document_id: str) -> int | None:
        """The row number of this id's document, in a moment that is taken now."""
        later = self._later_rows.get(document_id)
        if later is not None or self._base is None:
            return later
        row = self._base.row(document_id)
        return row if row is not None and self._alive[row] else None

    def label_and_keys(self, document_id: str) -> tuple[Label, frozenset[str]] | None:
        """The label and the metadata keys of this id's document."""
        row = self.row(document_id)
        if row is None:
            return None
        return self.labels.labels[self._label_codes[row]], self._key_sets[self._key_set_codes[row]]

    def lacks_room(self, count: int) -> bool:
        """Whether so many more documents make all arrays move."""
        return self._count - self._first + count > len(self._matrix)

    def make_room(self, more: int) -> None:
        """Have room for so many more documents. It may run in a thread while nobody writes: whoever reads meanwhile
        finds the same rows in old arrays and new ones, and of 100,000 rows it takes more than 0.1 s."""
        if not self.lacks_room(more):
            return
        count, later = self._count, self._count - self._first
        capacity = max(later + more, _FIRST_CAPACITY, len(self._matrix) * 3 // 2)
        matrix = np.empty((capacity, self._matrix.shape[1]), dtype=np.float32)
        matrix[:later] = self._matrix[:later]
        quantised = self._quantised_rows.grown(later, capacity)
        label_codes = _grown(self._label_codes, count, self._first + capacity)
        key_set_codes = _grown(self._key_set_codes, count, self._first + capacity)
        alive = _grown(self._alive, count, self._first + capacity)
        # Only when there is memory for all of them.
        self._quantised_rows, self._label_codes, self._key_set_codes = quantised, label_codes, key_set_codes
        self._alive, self._matrix = alive, matrix

    def drop_moment(self) -> None:
        """Take a new moment next time; the one that is kept may be all that keeps arrays alive that were moved."""
        self._moment = None

    def _upsert(self, documents: Sequence[Document]) -> None:
        self._change()
        self._mark_dead(document.document_id for document in documents)
        start, end = self._count, self._count + len(documents)
        self.make_room(len(documents))
        embeddings = [document.embedding for document in documents if document.embedding is not None]
        later = slice(start - self._first, end - self._first)
        self._matrix[later] = normalised(np.stack(embeddings))
        self._quantised_rows.set(later.start, quantised_rows.quantise(self._matrix[later]))
        for row, document in enumerate(documents, start):
            code = self._label_codes[row] = self.labels.add(document.label)
            self._key_set_codes[row] = self._key_set_code(frozenset(document.metadata))
            self._later_rows[document.document_id] = row
            # Rows with equal labels share one, for there may be as many labels as rows.
            self._documents.append(replace(document, label=self.labels.labels[code], embedding=None))
            self._document_bytes += _bytes_of(document)
            self.untagged_ids.discard(document.document_id)
        self._alive[start:end] = True
        self._count = end
        self._living += len(documents)

    def _delete(self, document_ids: Sequence[str]) -> None:
        self._change()
        self.untagged_ids.difference_update(document_ids)
        self._mark_dead(document_ids)

    def _change(self) -> None:
        self.state = next(_STATES)
        self.drop_moment()

    def _key_set_code(self, keys: frozenset[str]) -> int:
        code = self._code_of_key_set.get(keys)
        if code is None:
            code = self._code_of_key_set[keys] = len(self._key_sets)
            self._key_sets.append(keys)
        return code

    def _mark_dead(self, document_ids: Iterable[str]) -> None:
        rows = {row for document_id in document_ids if (row := self.row(document_id)) is not None}
        if not rows:
            return
        for row in rows:
            if row >= self._first:
                del self._later_rows[self._documents[row - self._first].document_id]
        alive = self._alive.copy()  # moments keep the mask that they have
        alive[list(rows)] = False
        self._alive = alive
        self._living -= len(rows)


def _bytes_of(document: Document) -> int:
    """What text, id and metadata take; texts are as wide as their widest character."""
    metadata = document.metadata
    entries = sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in metadata.items())
    return sys.getsizeof(document.text) + sys.getsizeof(document.document_id) + sys.getsizeof(metadata) + entries


def _grown(array: NDArray[Scalar], count: int, capacity: int) -> NDArray[Scalar]:
    grown = np.empty(capacity, dtype=array.dtype)
    grown[:count] = array[:count]
    return grown
