"""The rows of a snapshot, once its file is open.

A small file is read as a whole. A large one is mapped into memory, where the kernel keeps what searches read for as
long as nobody needs the room more. What every search reads is checked when it is opened; rows in full and texts, which
are most of a file, are checked row by row when they are read.
"""

import mmap
import os
import struct
import weakref
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.exact_scan import Rows, ScanRows
from vecsec_retrieval.memory.label_runs import LabelRuns
from vecsec_retrieval.memory.postings.stored_postings import SECTIONS, StoredPostings
from vecsec_retrieval.memory.quantised_rows import QuantisedRows
from vecsec_retrieval.memory.resident_pages import ranges_are_resident, rows_are_resident
from vecsec_retrieval.memory.snapshot_format import ENDING, FORMAT, MAGIC, SnapshotSource
from vecsec_retrieval.model.rows import Metadata
from vecsec_retrieval.visibility.label_table import LabelTable
from vecsec_retrieval.words import WORDS_VERSION

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


class OutdatedSnapshot(TornSnapshot):
    """Another version of this program wrote the snapshot: it is whole, and is made again all the same."""


class SnapshotRows:
    """The rows of an opened file, numbered as they lie in it."""

    def __init__(self, path: Path, source: SnapshotSource, checksum: int, mapped_from_bytes: int) -> None:
        """Open a file that is of this source, and whose table has this checksum. It is mapped from this size on.

        Raises:
            TornSnapshot: if it is not, or is not what was written.
            OSError: if it cannot be read.
        """
        self._path = path
        self.is_torn = False
        """Whether it was found out that a row is not what was written."""
        data, self._file = _contents(path, mapped_from_bytes)
        self.is_mapped = self._file is not None
        self._bytes = 0 if self.is_mapped else len(data)
        try:
            self._read(data, source, checksum)
        except (ValueError, TypeError, KeyError, struct.error) as error:
            raise TornSnapshot(path, f"it cannot be read: {error}") from error

    def _read(self, data: memoryview, source: SnapshotSource, checksum: int) -> None:
        table = self._table(data, checksum)
        if table["format"] < FORMAT or table.get("words_version") != WORDS_VERSION:
            raise OutdatedSnapshot(self._path, "it is of another version")
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
        self.label_runs = LabelRuns(self.label_codes)
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
        self._scanned_at = [(each, each.ctypes.data) for each in (self.scanned.quantised.numbers, self._exact)]
        self._ids, self._id_ends = parts["ids"], _ends(parts["id_lengths"])
        self._by_id = np.frombuffer(parts["by_id"], dtype=np.int32).data if "by_id" in parts else range(rows)
        self._metadata, self._metadata_ends = parts["metadata"], _ends(parts["metadata_lengths"])
        self._texts, self._text_ends = parts["texts"], _ends(parts["text_lengths"])
        self._text_address = np.frombuffer(parts["texts"], dtype=np.uint8).ctypes.data
        self._text_sums = np.frombuffer(parts["text_sums"], dtype=np.uint32)
        self.words = StoredPostings({name: parts[name] for name in SECTIONS}, rows)

    def __len__(self) -> int:
        return len(self.label_codes)

    @property
    def heap_bytes(self) -> int:
        """Memory that the rows take beside what the kernel can take away."""
        return self._bytes + 3 * self._id_ends.nbytes + self._is_whole.nbytes

    def require_unchanged(self) -> None:
        """To be called before rows are read: of a mapped file that was cut meanwhile, reading ends the process.

        Raises:
            TornSnapshot: if somebody wrote to it.
        """
        if self._file is not None and self._file.is_changed:
            self.is_torn = True
            raise TornSnapshot(self._path, "it was changed while it was in use")

    def scan_waits_for_disk(self, rows: Rows) -> bool:
        """Whether the kernel may have to read some of what a scan looks at; these rows, ascending, no others."""
        return self.is_mapped and not all(rows_are_resident(table, at, rows) for table, at in self._scanned_at)

    def texts_wait_for_disk(self, rows: Sequence[int]) -> bool:
        """Whether the kernel may have to read some of these rows' texts."""
        if not self.is_mapped:
            return False
        ends = self._text_ends
        starts = [ends[row] for row in rows]
        return not ranges_are_resident(self._text_address, starts, [ends[row + 1] for row in rows])

    def document_id(self, row: int) -> str:
        """The id of a row."""
        return self._id(row).decode()

    @property
    def rows_by_id(self) -> NDArray[np.int32]:
        """The rows in the order of their ids."""
        return np.asarray(self._by_id, dtype=np.int32)

    def row(self, document_id: str) -> int | None:
        """The row of an id."""
        rank = self.rank(document_id)
        if rank == len(self):
            return None
        row = self._by_id[rank]
        return row if self._id(row) == document_id.encode() else None

    def rank(self, document_id: str) -> int:
        """How many ids are before this one."""
        return bisect_left(self._by_id, document_id.encode(), key=self._id)

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


class _MappedFile:
    """A file that is mapped, and whether it is what it was then."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)
        self._as_mapped = self._state()

    @property
    def is_changed(self) -> bool:
        """Whether its size or its time is another; a change that leaves both is none of a file system's."""
        return self._state() != self._as_mapped

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


def _contents(path: Path, mapped_from_bytes: int) -> tuple[memoryview, _MappedFile | None]:
    """What is in a file; and the file, where it is mapped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < max(1, mapped_from_bytes):
            return memoryview(file.read()), None
        mapped = _MappedFile(file.fileno())  # before a byte is looked at
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)), mapped


def _ends(lengths: memoryview) -> memoryview:
    """Where each value begins, and where the last one ends: as whole numbers of Python's, which one by one are read
    faster than NumPy's."""
    found = np.frombuffer(lengths, dtype=np.int32)
    ends = np.zeros(len(found) + 1, dtype=np.int64)
    np.cumsum(found, out=ends[1:])
    return ends.data
