"""Which rows of a mapped file the kernel has in memory already, so that reading them waits for no disk: mincore(2)."""

import ctypes
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Rows

_mincore = ctypes.CDLL(None, use_errno=True).mincore
_mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_LOWEST_BIT = bytes(value & 1 for value in range(256))
"""All else that it tells of a page is undefined."""
_ABSENT = 0
_PAGES_OF_A_CALL = 5_000
"""To be told of so many costs what a call for a few does (measured)."""


def rows_are_resident(table: NDArray[Any], address: int, rows: Rows) -> bool:
    """Whether all pages of these rows, ascending, are in memory, of a table at this address in which they lie one after
    the other."""
    if not rows.size:
        return True
    row_bytes = table.strides[0]
    first, end = _pages(address + int(rows[0]) * row_bytes, address + (int(rows[-1]) + 1) * row_bytes)
    told = _resident_pages(first, end)
    if _ABSENT not in told:
        return True
    absent_before = np.concatenate(([0], np.cumsum(np.frombuffer(told, dtype=np.uint8) == 0)))
    starts = (address + rows * row_bytes) // mmap.PAGESIZE - first
    ends = -(-(address + (rows + 1) * row_bytes) // mmap.PAGESIZE) - first
    return not np.any(absent_before[ends] > absent_before[starts])


def ranges_are_resident(address: int, starts: Sequence[int], ends: Sequence[int]) -> bool:
    """The same of all from each start to its end, counted from an address. What lies near to one another is asked for
    at once, with what is between."""
    if not starts:
        return True
    first, end = _pages(address + min(starts), address + max(ends))
    if end - first <= _PAGES_OF_A_CALL * len(starts) and _ABSENT not in _resident_pages(first, end):
        return True
    ranges = zip(starts, ends, strict=True)
    return all(_ABSENT not in _resident_pages(*_pages(address + start, address + end)) for start, end in ranges)


def _pages(start: int, end: int) -> tuple[int, int]:
    return start // mmap.PAGESIZE, -(-end // mmap.PAGESIZE)


def _resident_pages(first: int, end: int) -> bytes:
    """Of each page from a number on, 1 or 0; 0 where the kernel does not say."""
    told = ctypes.create_string_buffer(end - first)
    if _mincore(first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE, told) != 0:
        return bytes(end - first)
    return told.raw.translate(_LOWEST_BIT)
