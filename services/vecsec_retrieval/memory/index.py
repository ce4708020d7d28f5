"""An in-memory index of one collection: the rows of its snapshot, and what came later, ready for an exact scan.

Written on the event loop alone. The snapshot's rows come first and never change. Later rows are only ever appended, and
the mask of living rows and the labels of rows are replaced, not changed, so that a moment stays as it is while a thread
scans it.
"""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory import quantised_rows
from vecsec_retrieval.memory.exact_scan import ScanRows
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.postings.later_postings import LaterPostings
from vecsec_retrieval.memory.postings.word_counts import WordCounts, counted_words
from vecsec_retrieval.memory.row_sources import RowSources
from vecsec_retrieval.memory.snapshot_rows import SnapshotRows
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.label_table import LabelTable

Scalar = TypeVar("Scalar", bound=np.generic)

_STATES = itertools.count()
"""Of all indexes of this process."""
_FIRST_CAPACITY = 64
_BYTES_PER_ROW = 400
"""What a later row costs beside its vector and what is counted by itself: objects, and places in the tables
(measured)."""
_IDS_A_SLICE = 200
"""To look so many up takes 20 ms, where the snapshot is mapped."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownRows:
    """Where rows are in an index: to look very many up by their ids takes longer than others should wait."""

    index: "CollectionIndex"
    """As long as it is the one that is changed, and nobody else writes."""
    numbers: NDArray[np.int64]


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
    relabelled: Sequence[tuple[str, Label]] = ()
    """Ids of rows that keep all but their label, which is this one now."""
    words: Sequence[WordCounts] | None = None
    """Of those that were upserted; None: they are counted when the change is applied, which takes longer than others
    should wait."""
    rows: KnownRows | None = None
    """Where those are that were deleted or relabelled, if that is known: in the order of their ids here."""


def in_slices(change: IndexChange) -> Iterator[IndexChange]:
    """The change in parts, none of which takes long, for an index that nobody reads yet: in this order they leave what
    the whole leaves. Rows are looked up by their ids, for it is another index than the change was made for."""
    for start in range(0, len(change.relabelled), _IDS_A_SLICE):
        yield IndexChange(0, relabelled=change.relabelled[start : start + _IDS_A_SLICE])
    for start in range(0, len(change.deleted), _IDS_A_SLICE):
        yield IndexChange(0, deleted=change.deleted[start : start + _IDS_A_SLICE])
    yield IndexChange(change.position, change.upserted, untagged=change.untagged, words=change.words)


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
        self._relabelled_rows = 0
        self._matrix = np.empty((0, dimensions), dtype=np.float32)
        self._quantised_rows = quantised_rows.empty(0, dimensions)
        self._label_codes = np.empty(0, dtype=np.int32) if base is None else base.label_codes
        self._key_set_codes = np.empty(0, dtype=np.int32) if base is None else base.key_set_codes
        self._alive = np.ones(self._first, dtype=np.bool_)
        self._documents: list[Document] = []
        self._later_rows: dict[str, int] = {}
        self._later_words = LaterPostings()
        self._key_sets = [] if base is None else list(base.key_sets)
        self._code_of_key_set = {keys: code for code, keys in enumerate(self._key_sets)}
        self._document_bytes = 0
        self.state = next(_STATES)
        """Another number after each change; no other index has it."""
        self._moment: IndexMoment | None = None
        self.labels = LabelTable() if base is None else base.labels
        """The labels of all rows, and perhaps of rows that are gone."""
        self.sources = RowSources()
        """What rows are passages of."""

    def __len__(self) -> int:
        return self._living

    @property
    def approximate_bytes(self) -> int:
        """Memory that the index takes, beside files that are mapped into it: the kernel takes that away again where it
        is needed."""
        base = 0 if self._base is None else self._base.heap_bytes
        return base + self.later_bytes + self.labels.approximate_bytes + self.sources.approximate_bytes

    @property
    def later_bytes(self) -> int:
        """What of that is for the rows that are not the snapshot's."""
        codes = self._label_codes.nbytes + self._key_set_codes.nbytes + self._alive.nbytes
        arrays = self._matrix.nbytes + self._quantised_rows.nbytes + codes
        of_documents = self._document_bytes + len(self._documents) * _BYTES_PER_ROW
        return arrays + of_documents + self._later_words.approximate_bytes

    @property
    def base_rows(self) -> int:
        """How many rows the snapshot has, dead ones, too."""
        return self._first

    @property
    def changed_rows(self) -> int:
        """How many rows came after the snapshot, dead ones, too, or are dead or labelled otherwise in it."""
        return self._count - (self._living - len(self._later_rows)) + self._relabelled_rows

    @property
    def is_torn(self) -> bool:
        """Whether a row of the snapshot turned out not to be what was written."""
        return self._base is not None and self._base.is_torn

    def add_words(self, words: Sequence[WordCounts]) -> None:
        """Take the words of documents that are written and about to be applied, of which many take longer than others
        should wait. It may run in a thread while nobody else writes; who reads does not see them yet."""
        for each in words:
            self._later_words.add(each)

    def apply(self, change: IndexChange) -> None:
        """Do what was written."""
        if change.relabelled:
            self._relabel(change)
        if change.deleted or change.untagged:
            self._delete([*change.deleted, *change.untagged], change.rows)
            self.untagged_ids.update(change.untagged)
        if change.upserted:
            self._upsert(change.upserted)
            if len(self._later_words) < self._count - self._first:  # else they were there already
                self.add_words(counted_words(change.upserted) if change.words is None else change.words)
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
                self._later_words,
                self._later_words.lengths(later),
                None if self._base is None or self._relabelled_rows else self._base.label_runs,
            )
        return self._moment

    def row(self, document_id: str) -> int | None:
        """The row number of this id's document, in a moment that is taken now.

        Raises:
            TornSnapshot: if the snapshot is not what was written.
        """
        later = self._later_rows.get(document_id)
        if later is not None or self._base is None:
            return later
        self._base.require_unchanged()
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

    def _delete(self, document_ids: Sequence[str], known: KnownRows | None) -> None:
        self._change()
        self.untagged_ids.difference_update(document_ids)
        if known is None or known.index is not self:
            self._mark_dead(document_ids)
        else:
            self._mark_rows_dead(known.numbers)

    def _relabel(self, change: IndexChange) -> None:
        self._change()
        numbers, labels = self._rows_of(change)
        code_of = {id(label): self.labels.add(label) for label in {id(label): label for label in labels}.values()}
        label_codes = self._label_codes.copy()  # moments keep the labels that they have
        label_codes[numbers] = [code_of[id(label)] for label in labels]
        self._label_codes = label_codes
        # Counted again where it is relabelled again: that it differs from the snapshot at all is what matters.
        self._relabelled_rows += int(np.count_nonzero(numbers < self._first))

    def _rows_of(self, change: IndexChange) -> tuple[NDArray[np.int64], list[Label]]:
        labels = [label for _, label in change.relabelled]
        if change.rows is not None and change.rows.index is self:
            return change.rows.numbers, labels
        found = [(row, label) for id_, label in change.relabelled if (row := self.row(id_)) is not None]
        return np.array([row for row, _ in found], dtype=np.int64), [label for _, label in found]

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
        if rows:
            self._mark_rows_dead(np.fromiter(rows, dtype=np.int64))

    def _mark_rows_dead(self, rows: NDArray[np.int64]) -> None:
        """These rows, which are living, each once."""
        for row in rows[rows >= self._first].tolist():
            del self._later_rows[self._documents[row - self._first].document_id]
        alive = self._alive.copy()  # moments keep the mask that they have
        alive[rows] = False
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
