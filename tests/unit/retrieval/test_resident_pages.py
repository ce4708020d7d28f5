"""What the kernel has in memory of a mapped file, told by the kernel itself."""

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vecsec_retrieval.memory.resident_pages import ranges_are_resident, rows_are_resident

ROWS, ROW_BYTES = 4_000, 1_000
PAGES = ROWS * ROW_BYTES // mmap.PAGESIZE

Evict = Callable[[], None]


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[tuple[NDArray[np.uint8], Evict]]:
    """A table in a mapped file, without read-ahead, and a way to have the kernel let go of all of it."""
    path = tmp_path / "table"
    path.write_bytes(bytes(ROWS * ROW_BYTES))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        data.madvise(mmap.MADV_RANDOM)

        def evict() -> None:
            data.madvise(mmap.MADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        yield np.frombuffer(data, dtype=np.uint8).reshape(ROWS, ROW_BYTES), evict


def test_rows_are_resident_once_they_were_read(mapped: tuple[NDArray[np.uint8], Evict]) -> None:
    table, evict = mapped
    every_hundredth = np.arange(0, ROWS, 100)
    everywhere = np.arange(ROWS)
    evict()
    assert not rows_are_resident(table, table.ctypes.data, every_hundredth)
    assert not rows_are_resident(table, table.ctypes.data, np.array([17]))
    table[every_hundredth].sum()
    assert rows_are_resident(table, table.ctypes.data, every_hundredth)
    assert not rows_are_resident(table, table.ctypes.data, everywhere), "the others were not read"
    table.sum()
    assert rows_are_resident(table, table.ctypes.data, everywhere)
    assert rows_are_resident(table, table.ctypes.data, np.array([], dtype=np.int64))


def test_a_row_that_lies_on_two_pages_needs_both(mapped: tuple[NDArray[np.uint8], Evict]) -> None:
    table, evict = mapped
    row = mmap.PAGESIZE // ROW_BYTES
    evict()
    assert table[row, 0] == 0
    assert not rows_are_resident(table, table.ctypes.data, np.array([row]))
    assert table[row, -1] == 0
    assert rows_are_resident(table, table.ctypes.data, np.array([row]))


def test_ranges_are_resident_once_they_were_read(mapped: tuple[NDArray[np.uint8], Evict]) -> None:
    table, evict = mapped
    address, two_pages = table.ctypes.data, 2 * mmap.PAGESIZE
    starts = [50_000, 500_000]
    ends = [start + two_pages for start in starts]
    evict()
    assert not ranges_are_resident(address, starts, ends)
    table.reshape(-1)[starts[0] : ends[0]].sum()
    assert ranges_are_resident(address, starts[:1], ends[:1])
    assert not ranges_are_resident(address, starts, ends), "the other was not read"
    table.reshape(-1)[starts[1] : ends[1]].sum()
    assert ranges_are_resident(address, starts, ends), "though what lies between is not there"
    assert ranges_are_resident(address, starts[::-1], ends[::-1])
    assert ranges_are_resident(address, starts, starts), "nothing is always there"
    assert ranges_are_resident(address, [], [])


def test_ranges_far_apart_are_asked_for_one_by_one(tmp_path: Path) -> None:
    """Not with the gigabytes between them."""
    path = tmp_path / "large"
    with path.open("wb+") as file:
        file.truncate(1 << 30)
        data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        starts, ends = [0, len(data) - 10], [10, len(data)]
        assert data[:10].sum() + data[-10:].sum() == 0
        assert ranges_are_resident(data.ctypes.data, starts, ends)


def test_what_the_kernel_does_not_know_is_not_resident() -> None:
    assert not ranges_are_resident(mmap.PAGESIZE, [0], [mmap.PAGESIZE]), "no memory of ours"
