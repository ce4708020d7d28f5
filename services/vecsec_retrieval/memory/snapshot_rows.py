"""The rows of a snapshot, once its file is open.

A small file is read as a whole. A large one is mapped into memory, where the kernel keeps what searches read for as
long as nobody needs the room more. What every search reads is checked when it is opened; rows in full and texts, which
are most of a file, are checked row by row when they are read.
"""

import mmap
import os
import struct
import zlib
from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.exact_scan import Rows, ScanRows
from vecsec_retrieval.memory.quantised_rows import QuantisedRows
from vecsec_retrieval.memory.snapshot_format import ENDING, FORMAT, MAGIC, SnapshotSource
from vecsec_retrieval.model.rows import Metadata
from vecsec_retrieval.visibility.label_table import LabelTable

_RETRY_SECONDS = 0.1
_LAZILY_CHECKED = frozenset({"exact", "texts"})


class TornSnapshot(RetrievalUnavailable):
    """A snapshot does not hold what was written to it, or does not fit: it is made again from the log."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            "what the collection is searched by is being made again; try again",
            detail=f"{path}: {reason}",
            retry_after=_RETRY_SECONDS,
        )


class SnapshotRows:
    """The rows of an opened file, numbered in the order of their ids."""

    def __init__(self, path: Path, source: SnapshotSource, checksum: int, mapped_from_bytes: int) -> None:
        """Open a file that is of this source, and whose table has this checksum. It is mapped from this size on.

        Raises:
            TornSnapshot: if it is not, or is not what was written.
            OSError: if it cannot be read.
        """
        self._path = path
        self.is_torn = False
        """Whether it was found out that a row is not what was written."""
        data, self.is_mapped = _contents(path, mapped_from_bytes)
        self._bytes = 0 if self.is_mapped else len(data)
        try:
            self._read(data, source, checksum)
        except (ValueError, TypeError, KeyError, struct.error) as error:
            raise TornSnapshot(path, f"it cannot be read: {error}") from error

    def _read(self, data: memoryview, source: SnapshotSource, checksum: int) -> None:
        table = self._table(data, checksum)
        if table["format"] != FORMAT or SnapshotSource(**table["source"]) != source:
            raise TornSnapshot(self._path, f"it is of {table['source']}")
        rows, dimensions = int(table["rows"]), source.dimensions
        parts = {}
        for name, (start, end, section_checksum) in table["sections"].items():
            parts[name] = data[start:end]
            is_checked = not (self.is_mapped and name in _LAZILY_CHECKED)
            if is_checked and zlib.crc32(parts[name]) != section_checksum:
                raise TornSnapshot(self._path, f"its {name} are not what was written")
        self.labels = LabelTable(Label.from_json(text) for text in table["labels"])
        if any(label.tenant_id != source.tenant_id for label in self.labels.labels):
            raise TornSnapshot(self._path, "it holds labels of another tenant")
        self.key_sets = [frozenset(keys) for keys in table["key_sets"]]
        self.untagged_ids = frozenset(table["untagged_ids"])
        self.label_codes = np.frombuffer(parts["label_codes"], dtype=np.int32)
        self.key_set_codes = np.frombuffer(parts["key_set_codes"], dtype=np.int32)
        self._exact = np.frombuffer(parts["exact"], dtype=np.float32).reshape(rows, dimensions)
        self._exact_sums = np.frombuffer(parts["exact_sums"], dtype=np.uint32)
        self._is_whole = np.full(rows, not self.is_mapped)
        self.scanned = ScanRows(
            self._exact,
            QuantisedRows(
                np.frombuffer(parts["numbers"], dtype=np.int8).reshape(rows, dimensions),
                np.frombuffer(parts["scales"], dtype=np.float32),
                np.frombuffer(parts["errors"], dtype=np.float32),
            ),
            self._require_whole if self.is_mapped else None,
        )
        self._ids, self._id_ends = parts["ids"], _ends(parts["id_lengths"])
        self._metadata, self._metadata_ends = parts["metadata"], _ends(parts["metadata_lengths"])
        self._texts, self._text_ends = parts["texts"], _ends(parts["text_lengths"])
        self._text_sums = np.frombuffer(parts["text_sums"], dtype=np.uint32)

    def __len__(self) -> int:
        return len(self.label_codes)

    @property
    def heap_bytes(self) -> int:
        """Memory that the rows take beside what the kernel can take away."""
        return self._bytes + 3 * self._id_ends.nbytes + self._is_whole.nbytes

    def document_id(self, row: int) -> str:
        """The id of a row."""
        return self._id(row).decode()

    def row(self, document_id: str) -> int | None:
        """The row of an id."""
        row = self.rank(document_id)
        return row if row < len(self) and self._id(row) == document_id.encode() else None

    def rank(self, document_id: str) -> int:
        """How many ids are before this one."""
        return bisect_left(range(len(self)), document_id.encode(), key=self._id)

    def text(self, row: int) -> str:
        """The text of a row.

        Raises:
            TornSnapshot: if it is not what was written.
        """
        return self.encoded_text(row).decode()

    def encoded_text(self, row: int) -> bytes:
        """The same as it is in the file."""
        text = bytes(self._texts[self._text_ends[row] : self._text_ends[row + 1]])
        if self.is_mapped and zlib.crc32(text) != self._text_sums[row]:
            self._refuse(row)
        return text

    def metadata(self, row: int) -> Metadata:
        """The callers' own metadata of a row."""
        found: Metadata = orjson.loads(self.encoded_metadata(row))
        return found

    def encoded_metadata(self, row: int) -> bytes:
        """The same as it is in the file."""
        return bytes(self._metadata[self._metadata_ends[row] : self._metadata_ends[row + 1]])

    def _id(self, row: int) -> bytes:
        return bytes(self._ids[self._id_ends[row] : self._id_ends[row + 1]])

    def _require_whole(self, rows: Rows) -> None:
        unread = rows[~self._is_whole[rows]]
        for row in unread.tolist():
            if zlib.crc32(self._exact[row]) != self._exact_sums[row]:
                self._refuse(row)
        self._is_whole[unread] = True

    def _refuse(self, row: int) -> None:
        self.is_torn = True
        raise TornSnapshot(self._path, f"row {row} is not what was written")

    def _table(self, data: memoryview, checksum: int) -> dict[str, Any]:
        magic, length, table_checksum = ENDING.unpack(data[-ENDING.size :])
        table = data[-ENDING.size - length : -ENDING.size] if 0 < length < len(data) else b""
        if magic != MAGIC or table_checksum != checksum or zlib.crc32(table) != checksum:
            raise TornSnapshot(self._path, "it is not the file that the record names, or not whole")
        found: dict[str, Any] = orjson.loads(table)
        return found


def _contents(path: Path, mapped_from_bytes: int) -> tuple[memoryview, bool]:
    """What is in a file, and whether it is mapped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < max(1, mapped_from_bytes):
            return memoryview(file.read()), False
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)), True


def _ends(lengths: memoryview) -> memoryview:
    """Where each value begins, and where the last one ends: as whole numbers of Python's, which one by one are read
    faster than NumPy's."""
    found = np.frombuffer(lengths, dtype=np.int32)
    ends = np.zeros(len(found) + 1, dtype=np.int64)
    np.cumsum(found, out=ends[1:])
    return ends.data
