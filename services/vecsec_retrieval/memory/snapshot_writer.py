"""Writes the file of a snapshot."""

import os
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vecsec_chassis.domain.labels import Label
from vecsec_chassis.process.writable_folders import sync_folder
from vecsec_retrieval.memory.exact_scan import ScanRows
from vecsec_retrieval.memory.postings.postings_writer import PostingsWriter
from vecsec_retrieval.memory.snapshot_format import ENDING, FORMAT, MAGIC, SnapshotSource
from vecsec_retrieval.model.store import UNFINISHED_SNAPSHOT
from vecsec_retrieval.words import WORDS_VERSION

_ALIGNMENT = 64
_BYTES_COPIED_AT_ONCE = 1024 * 1024
_BYTES_LEFT_FREE = 256 * 1024 * 1024
"""More than what a write to the store must leave free: the rows themselves have the last room on a disk."""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Some rows."""

    ids: Sequence[str]
    scanned: ScanRows
    label_codes: NDArray[np.int32]
    key_set_codes: NDArray[np.int32]
    texts: Sequence[bytes]
    metadata: Sequence[bytes]


class SnapshotWriter:
    """Writes one file; leaves nothing of it where the block ends before `finish`.

    Raises:
        OSError: if there is no room, in any method.
    """

    def __init__(self, path: Path, source: SnapshotSource, most_rows: int) -> None:
        """The file is to have so many rows at most."""
        self._path = path
        self._source = source
        self._rows = 0
        dimensions = source.dimensions
        # A name of its own: one that was given up may still be written in its thread.
        descriptor, aside = tempfile.mkstemp(prefix=UNFINISHED_SNAPSHOT, dir=path.parent)
        self._aside = Path(aside)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._exact = _Section(self._file.fileno(), 0)
        self._numbers = _Section(self._file.fileno(), _aligned(most_rows * dimensions * 4))
        self._texts = _Section(self._file.fileno(), _aligned(self._numbers.start + most_rows * dimensions))
        self._columns: dict[str, list[NDArray[Any]]] = {}
        self._ids: list[bytes] = []
        # Of a size that is not known before, and read by filters, so that it is to lie together.
        self._metadata = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by `abandon`
        self.words = PostingsWriter(path.parent)
        """To be told of the words of all rows."""

    def __enter__(self) -> "SnapshotWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file, and of what lies aside."""
        self._file.close()
        self._metadata.close()
        self.words.close()
        with suppress(FileNotFoundError):
            self._aside.unlink()

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._rows

    def add(self, page: SnapshotPage) -> None:
        """Append rows, in the order of their ids or in one that `finish` is told of."""
        exact = np.ascontiguousarray(page.scanned.exact)
        quantised = page.scanned.quantised
        self._require_room(exact.nbytes + quantised.numbers.nbytes + sum(map(len, page.texts)))
        self._exact.append(exact.tobytes())
        self._numbers.append(quantised.numbers.tobytes())
        self._texts.append(b"".join(page.texts))
        ids = [document_id.encode() for document_id in page.ids]
        for name, column in (
            ("scales", quantised.scales),
            ("errors", quantised.errors),
            ("label_codes", page.label_codes),
            ("key_set_codes", page.key_set_codes),
            ("exact_sums", _checksums(exact)),
            ("text_sums", _checksums(page.texts)),
            ("text_lengths", _lengths(page.texts)),
            ("id_lengths", _lengths(ids)),
            ("metadata_lengths", _lengths(page.metadata)),
        ):
            self._columns.setdefault(name, []).append(column)
        self._ids += ids
        self._metadata.write(b"".join(page.metadata))
        self._rows += len(ids)

    def finish(
        self,
        labels: Sequence[Label],
        key_sets: Sequence[frozenset[str]],
        untagged_ids: frozenset[str],
        by_id: NDArray[np.int32] | None = None,
    ) -> int:
        """Sync the file and give it its name; the checksum of its table. `by_id` has the rows in the order of their
        ids, where they were not appended in it."""
        sections = {"exact": self._exact, "numbers": self._numbers, "texts": self._texts}
        end = self._texts.end
        blobs = {name: _joined(columns) for name, columns in self._columns.items()}
        if by_id is not None:
            blobs["by_id"] = by_id.tobytes()
        for name, blob in {**blobs, "ids": b"".join(self._ids)}.items():
            section = sections[name] = _Section(self._file.fileno(), _aligned(end))
            section.append(blob)
            end = section.end
        for name, part in self.words.sections():
            section = sections.get(name) or sections.setdefault(name, _Section(self._file.fileno(), _aligned(end)))
            self._require_room(len(part))
            section.append(part)
            end = section.end
        metadata = sections["metadata"] = _Section(self._file.fileno(), end)
        self._metadata.seek(0)
        while chunk := self._metadata.read(_BYTES_COPIED_AT_ONCE):
            metadata.append(chunk)
        table = orjson.dumps(
            {
                "format": FORMAT,
                "words_version": WORDS_VERSION,
                "source": asdict(self._source),
                "rows": self._rows,
                "labels": [label.to_json() for label in labels],
                "key_sets": [sorted(keys) for keys in key_sets],
                "untagged_ids": sorted(untagged_ids),
                "sections": {name: [each.start, each.end, each.checksum] for name, each in sections.items()},
            }
        )
        checksum = zlib.crc32(table)
        _Section(self._file.fileno(), metadata.end).append(table + ENDING.pack(MAGIC, len(table), checksum))
        os.fsync(self._file.fileno())
        self._aside.rename(self._path)
        sync_folder(self._path.parent)
        return checksum

    def _require_room(self, size: int) -> None:
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize < size + _BYTES_LEFT_FREE:
            raise OSError("too little room is left on the disk")


class _Section:
    """A part of a file that is being written."""

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor = descriptor
        self.start = self.end = start
        self.checksum = 0

    def append(self, data: bytes) -> None:
        self.checksum = zlib.crc32(data, self.checksum)
        left = memoryview(data)
        while left:
            written = os.pwrite(self._descriptor, left, self.end)
            self.end += written
            left = left[written:]


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _joined(columns: Sequence[NDArray[Any]]) -> bytes:
    return np.concatenate(columns).tobytes()


def _lengths(values: Sequence[bytes]) -> NDArray[np.int32]:
    return np.fromiter(map(len, values), dtype=np.int32, count=len(values))


def _checksums(values: Sequence[bytes] | NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.fromiter(map(zlib.crc32, values), dtype=np.uint32, count=len(values))
