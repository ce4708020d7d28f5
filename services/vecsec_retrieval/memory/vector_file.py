"""Vectors of a collection that is too large for the heap, in nameless files that are mapped into memory.

The kernel keeps there what searches read, for as long as nobody needs the room more. The files are copies, made anew
from the store whenever a collection is loaded; nothing is left of them when the process ends, however it ends.

Rows are only ever appended, and files never become shorter. When they grow they are mapped a second time: what was
handed out before stays valid for as long as somebody has it.
"""

import errno
import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import ScanRows
from vecsec_retrieval.memory.quantised_rows import QuantisedRows, quantise
from vecsec_retrieval.model.rows import Matrix

Number = TypeVar("Number", np.float32, np.int8)

_FIRST_CAPACITY = 1_024
_BYTES_LEFT_FREE = 256 * 1024 * 1024
"""More than what a write to the store must leave free: the rows themselves have the last room on a disk."""
_ZEROS = bytes(1024 * 1024)


class VectorFile:
    """Normalised rows, and the same in 8 bits a number. Of a row, 8 bytes lie on the heap."""

    def __init__(self, dimensions: int, folder: Path | None) -> None:
        """The files lie in this folder, or where the system has such files if it is None.

        Raises:
            OSError: if there is no room for them.
        """
        self._exact_file = _MappedFile(np.dtype(np.float32), dimensions, folder)
        self._numbers_file = _MappedFile(np.dtype(np.int8), dimensions, folder)
        self._exact = np.empty((0, dimensions), dtype=np.float32)
        self._quantised = QuantisedRows(
            np.empty((0, dimensions), dtype=np.int8), np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32)
        )

    @property
    def capacity(self) -> int:
        """For how many rows there is room."""
        return len(self._exact)

    @property
    def heap_bytes(self) -> int:
        """Memory that the rows take beside their files."""
        return self._quantised.scales.nbytes + self._quantised.errors.nbytes

    def make_room(self, count: int) -> None:
        """Have room for so many rows altogether. It may run in a thread while nobody writes: whoever reads meanwhile
        finds the same rows in old maps and new ones.

        Raises:
            OSError: if there is none on the disk; then nothing has changed.
        """
        if count <= self.capacity:
            return
        kept, capacity = self.capacity, max(count, _FIRST_CAPACITY, self.capacity * 5 // 4)
        scales, errors = np.empty(capacity, dtype=np.float32), np.empty(capacity, dtype=np.float32)
        scales[:kept], errors[:kept] = self._quantised.scales, self._quantised.errors
        exact, numbers = self._exact_file.grown(capacity), self._numbers_file.grown(capacity)
        self._quantised = QuantisedRows(numbers, scales, errors)
        self._exact = exact

    def touch(self, start: int, end: int) -> None:
        """Let the kernel make pages ready that are to be written soon: for each it may wait for the disk."""
        self._exact[start:end] = 0
        self._quantised.numbers[start:end] = 0

    def put(self, start: int, rows: Matrix) -> None:
        """Write normalised rows, for which there is room, from position `start` on: behind all that were handed out."""
        self._exact[start : start + len(rows)] = rows
        self._quantised.set(start, quantise(rows))

    def rows(self, count: int) -> ScanRows:
        """The first rows."""
        return ScanRows(self._exact[:count], self._quantised[:count])


class _MappedFile(Generic[Number]):
    """Rows of numbers in a file without a name."""

    def __init__(self, dtype: "np.dtype[Number]", dimensions: int, folder: Path | None) -> None:
        self._dtype: np.dtype[Number] = dtype
        self._dimensions = dimensions
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open for as long as this object lives
        self._descriptor = file.fileno()
        self._size = 0
        weakref.finalize(self, file.close)

    def grown(self, capacity: int) -> NDArray[Number]:
        """All rows, with room for so many."""
        size = capacity * self._dimensions * self._dtype.itemsize
        # Never a hole: whoever writes into one through a map, while the disk is full, is killed by a signal.
        if size > self._size:
            _reserve(self._descriptor, self._size, size)
            self._size = size
        numbers = np.frombuffer(mmap.mmap(self._descriptor, size), dtype=self._dtype)
        return numbers.reshape(capacity, self._dimensions)


def _reserve(descriptor: int, start: int, end: int) -> None:
    """Give a file its blocks on the disk.

    Raises:
        OSError: if they would take what others need.
    """
    disk = os.fstatvfs(descriptor)
    if disk.f_bavail * disk.f_frsize < end - start + _BYTES_LEFT_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, end - start)
        return
    while start < end:  # macOS
        start += os.pwrite(descriptor, _ZEROS[: end - start], start)
