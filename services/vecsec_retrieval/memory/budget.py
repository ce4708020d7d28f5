"""How much memory this process takes, how much cells may take of it, and which of them go first when it is too much."""

import ctypes
import resource
from collections.abc import Iterable
from pathlib import Path

_MOST_AWAKE = 32
_FILES_PER_CELL = 18
"""Measured: about 16 with one collection; further collections share Chroma's own cache of open indexes."""
_FILES_FOR_THE_REST = 128
_MOST_FILES = 65_536
_M_ARENA_MAX = -8
_ARENAS = 2

BYTES_FOR_CALLS = 96 * 1024 * 1024
"""What calls, caches and memory that is free but not given back take beside cells (measured)."""


def most_awake_cells() -> int:
    """For how many cells Chroma may be open: more would gain nothing, and each takes file descriptors of this process,
    whose soft limit is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(_MOST_AWAKE, max(1, (max(soft, wanted) - _FILES_FOR_THE_REST) // _FILES_PER_CELL))


def keep_arenas_few() -> None:
    """Let threads share the C library's pools of memory; to be called before there are any.

    By itself glibc gives each thread one, and what is freed in one is of no use to another: with 150 tenants opened in
    turn, 20 % of all memory (measured).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, _ARENAS)


def give_back_memory() -> None:
    """Let the C library give the system what was freed; glibc alone keeps so much that it is worth asking."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Memory that this process has in use, as the kernel counts it; its most so far where the kernel does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


class MemoryBudget:
    """Who takes how many bytes, and who has to go."""

    def __init__(self, limit_bytes: int, *, reserved_bytes: int = 0) -> None:
        """`reserved_bytes` of the limit are taken by what is no entry; half of it is left for entries in any case."""
        self._limit_bytes = limit_bytes
        self._available_bytes = max(limit_bytes - reserved_bytes, limit_bytes // 2)
        self._bytes_of: dict[str, int] = {}
        self._total = 0

    @property
    def limit_bytes(self) -> int:
        """The limit of all memory."""
        return self._limit_bytes

    @property
    def available_bytes(self) -> int:
        """Bytes that all entries may take together."""
        return self._available_bytes

    @property
    def total_bytes(self) -> int:
        """Bytes that all entries take now."""
        return self._total

    @property
    def is_exceeded(self) -> bool:
        """Whether they are more than there are."""
        return self._total > self._available_bytes

    def resize(self, name: str, size: int) -> None:
        """An entry takes this many bytes from now on."""
        self._total += size - self._bytes_of.get(name, 0)
        self._bytes_of[name] = size

    def remove(self, name: str) -> None:
        """An entry is gone."""
        self._total -= self._bytes_of.pop(name, 0)

    def excess(self, least_recently_used: Iterable[str]) -> list[str]:
        """The entries to let go, in this order, until the rest is within its limits; never the last one."""
        total = self._total
        leaving: list[str] = []
        for name in least_recently_used:
            if total <= self._available_bytes or len(leaving) == len(self._bytes_of) - 1:
                break
            if name in self._bytes_of:
                leaving.append(name)
                total -= self._bytes_of[name]
        return leaving
