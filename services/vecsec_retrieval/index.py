"""An in-memory index of one collection: every tagged row, ready for an exact scan.

Written on the event loop alone. Rows are only ever appended and the mask of living rows is replaced, not changed, so
that a snapshot stays as it is while a thread scans it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.labels import Label
from vecsec_retrieval.exact_scan import Mask
from vecsec_retrieval.rows import Document, Matrix
from vecsec_retrieval.tagging import label_key
from vecsec_retrieval.vectors import normalised

Scalar = TypeVar("Scalar", bound=np.generic)

_FIRST_CAPACITY = 64
_COMPACT_ABOVE_DEAD_SHARE = 0.25
_BYTES_PER_ROW = 800
"""What a row costs beside its vector and its text: its objects, its metadata, its place in the tables.
Measured: 700 with three metadata entries."""


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """The index at one moment. All arrays and the list have `count` rows; row numbers are positions in them."""

    matrix: Matrix
    label_codes: NDArray[np.int32]
    alive: Mask
    documents: Sequence[Document]
    """Without embeddings. May be longer than the arrays: later rows are not part of the snapshot."""

    def mask(self, visible_codes: Iterable[int]) -> Mask:
        """The living rows whose label is one of these."""
        chosen = np.zeros(int(self.label_codes.max(initial=-1)) + 1, dtype=np.bool_)
        chosen[[code for code in visible_codes if code < len(chosen)]] = True
        return chosen[self.label_codes] & self.alive


class CollectionIndex:
    """Vectors, label codes and documents of one collection."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self.untagged_ids: set[str] = set()
        """Ids of rows in the store that are no documents, for want of whole tags."""
        self._count = 0
        self._matrix = np.empty((0, self._dimensions), dtype=np.float32)
        self._label_codes = np.empty(0, dtype=np.int32)
        self._alive = np.empty(0, dtype=np.bool_)
        self._documents: list[Document] = []
        self._row_of_id: dict[str, int] = {}
        self._code_of_key: dict[str, int] = {}
        self._living_labels: dict[str, Label] = {}
        self._living_rows: Counter[int] = Counter()
        self._metadata_keys: list[Counter[str]] = []
        self._text_bytes = 0

    def __len__(self) -> int:
        return len(self._row_of_id)

    @property
    def approximate_bytes(self) -> int:
        """Memory that the index takes."""
        return self._matrix.nbytes + self._text_bytes + len(self._documents) * _BYTES_PER_ROW

    @property
    def labels(self) -> Mapping[str, Label]:
        """The labels of living rows, by key."""
        return self._living_labels

    def upsert(self, documents: Sequence[Document]) -> None:
        """Add documents with embeddings, replacing those of the same id."""
        if not documents:
            return
        self._kill(document.document_id for document in documents)
        start, end = self._count, self._count + len(documents)
        self._reserve(end)
        embeddings = [document.embedding for document in documents if document.embedding is not None]
        self._matrix[start:end] = normalised(np.stack(embeddings))
        for row, document in enumerate(documents, start):
            self._label_codes[row] = self._count_in(document)
            self._row_of_id[document.document_id] = row
            self._documents.append(replace(document, embedding=None))
            self.untagged_ids.discard(document.document_id)
        self._alive[start:end] = True
        self._count = end
        self._compact_if_worth_it()

    def delete(self, document_ids: Iterable[str]) -> None:
        """Remove documents; ids that are not there are ignored."""
        document_ids = list(document_ids)
        self.untagged_ids.difference_update(document_ids)
        self._kill(document_ids)
        self._compact_if_worth_it()

    def snapshot(self) -> IndexSnapshot:
        """The index as it is now."""
        count = self._count
        return IndexSnapshot(self._matrix[:count], self._label_codes[:count], self._alive[:count], self._documents)

    def find(self, document_id: str) -> Document | None:
        """The document of this id, without its embedding."""
        row = self._row_of_id.get(document_id)
        return None if row is None else self._documents[row]

    def codes(self, label_keys: Iterable[str]) -> list[int]:
        """The codes of these labels, as far as the index knows them."""
        return [self._code_of_key[key] for key in label_keys if key in self._code_of_key]

    def count(self, label_keys: Iterable[str]) -> int:
        """How many living rows have one of these labels."""
        return sum(self._living_rows[code] for code in self.codes(label_keys))

    def metadata_keys(self, label_keys: Iterable[str]) -> frozenset[str]:
        """The metadata keys of living rows that have one of these labels."""
        return frozenset(key for code in self.codes(label_keys) for key in self._metadata_keys[code])

    def _reserve(self, rows: int) -> None:
        if rows <= len(self._matrix):
            return
        capacity = max(rows, _FIRST_CAPACITY, len(self._matrix) * 3 // 2)
        matrix = np.empty((capacity, self._dimensions), dtype=np.float32)
        matrix[: self._count] = self._matrix[: self._count]
        self._matrix = matrix
        self._label_codes = _grown(self._label_codes, self._count, capacity)
        self._alive = _grown(self._alive, self._count, capacity)

    def _count_in(self, document: Document) -> int:
        key = label_key(document.label)
        code = self._code_of_key.setdefault(key, len(self._code_of_key))
        if code == len(self._metadata_keys):
            self._metadata_keys.append(Counter())
        self._living_labels.setdefault(key, document.label)
        self._living_rows[code] += 1
        self._metadata_keys[code].update(document.metadata.keys())
        self._text_bytes += len(document.text)
        return code

    def _count_out(self, row: int) -> None:
        document = self._documents[row]
        code = int(self._label_codes[row])
        self._living_rows[code] -= 1
        if not self._living_rows[code]:
            del self._living_labels[label_key(document.label)]
        keys = self._metadata_keys[code]
        keys.subtract(document.metadata.keys())
        for key in document.metadata:
            if not keys[key]:
                del keys[key]

    def _kill(self, document_ids: Iterable[str]) -> None:
        rows = [self._row_of_id.pop(document_id) for document_id in document_ids if document_id in self._row_of_id]
        if not rows:
            return
        for row in rows:
            self._count_out(row)
        alive = self._alive.copy()  # snapshots keep the mask that they have
        alive[rows] = False
        self._alive = alive

    def _compact_if_worth_it(self) -> None:
        if self._count - len(self) <= self._count * _COMPACT_ABOVE_DEAD_SHARE:
            return
        rows = np.flatnonzero(self._alive[: self._count])
        # Whole arrays are copied and tables rebuilt at once: row by row, 100,000 of them held the loop for two seconds.
        self._matrix = self._matrix[rows]
        self._alive = np.ones(len(rows), dtype=np.bool_)
        self._documents = [self._documents[row] for row in rows.tolist()]
        self._row_of_id = {document.document_id: row for row, document in enumerate(self._documents)}
        self._text_bytes = sum(len(document.text) for document in self._documents)
        self._count = len(rows)
        self._renumber_labels(self._label_codes[rows])

    def _renumber_labels(self, codes: NDArray[np.int32]) -> None:
        """Take over the codes of all rows, numbered anew: labels without rows are forgotten."""
        used, renumbered = np.unique(codes, return_inverse=True)
        new_code = {int(code): position for position, code in enumerate(used)}
        self._label_codes = renumbered.astype(np.int32)
        self._code_of_key = {key: new_code[code] for key, code in self._code_of_key.items() if code in new_code}
        self._living_rows = Counter({new: self._living_rows[code] for code, new in new_code.items()})
        self._metadata_keys = [self._metadata_keys[code] for code in new_code]


def _grown(array: NDArray[Scalar], count: int, capacity: int) -> NDArray[Scalar]:
    grown = np.empty(capacity, dtype=array.dtype)
    grown[:count] = array[:count]
    return grown
