"""How much memory cells may take together, and which of them go first when it is too much."""

import re
import resource
from collections import OrderedDict

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_FILES_PER_CELL = 14
"""Measured: about 11 with one collection; further collections share Chroma's own cache of open indexes."""
_FILES_FOR_THE_REST = 128
_MOST_FILES = 65_536


def parse_size(text: str) -> int:
    """Bytes in a size such as `512M`, `1G` or `1.5GiB` (factors of 1,024).

    Raises:
        ValueError: if it is not a size, or not above zero.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _FACTORS[match[2].upper()]) if match else 0
    if size <= 0:
        raise ValueError(f"{text!r} is not a size such as 512M or 1G")
    return size


def most_open_cells() -> int:
    """How many cells this process has file descriptors for, after raising its soft limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, (max(soft, wanted) - _FILES_FOR_THE_REST) // _FILES_PER_CELL)


class MemoryBudget:
    """Least-recently-used bookkeeping: who takes how many bytes, and who has to go."""

    def __init__(self, limit_bytes: int, most_entries: int) -> None:
        self._limit_bytes = limit_bytes
        self._most_entries = most_entries
        self._bytes_of: OrderedDict[str, int] = OrderedDict()
        self._total = 0

    @property
    def limit_bytes(self) -> int:
        """Bytes that all entries may take together."""
        return self._limit_bytes

    @property
    def total_bytes(self) -> int:
        """Bytes that all entries take now."""
        return self._total

    def set(self, name: str, size: int) -> None:
        """An entry takes this many bytes from now on, and was just used."""
        self._total += size - self._bytes_of.get(name, 0)
        self._bytes_of[name] = size
        self._bytes_of.move_to_end(name)

    def touch(self, name: str) -> None:
        """An entry was just used."""
        if name in self._bytes_of:
            self._bytes_of.move_to_end(name)

    def remove(self, name: str) -> None:
        """An entry is gone."""
        self._total -= self._bytes_of.pop(name, 0)

    def excess(self) -> list[str]:
        """The entries to let go, least recently used first, until the rest is within its limits; never the last one."""
        total, count = self._total, len(self._bytes_of)
        leaving = []
        for name, size in self._bytes_of.items():
            if count == 1 or (total <= self._limit_bytes and count <= self._most_entries):
                break
            leaving.append(name)
            total -= size
            count -= 1
        return leaving
