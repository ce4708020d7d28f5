"""How many files this process may have open, and whether there are enough for what is about to be done.

ChromaDB does not say that it could not open a file: it speaks of an index that cannot be loaded, or its Rust core
panics. So it is asked only while there are files left for it.
"""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable

log = structlog.get_logger()

FILES_OF_CHROMA = 18
"""Measured: about 16 for a cell with one collection."""
FILES_OF_A_WRITE = 8
"""Journals, and files that are made anew."""
ENOUGH_FILES = 1_024
"""For as many cells at once as make sense, and for callers."""
_FILES_KEPT_FREE = 16
"""For connections, and for what reads meanwhile."""
_FEWEST_FILES = 96
"""The service itself has some 30; with fewer it could not open a single cell while callers come."""
_WHERE = "ulimit -n, LimitNOFILE= of the unit, ulimits of the container"
_RETRY_SECONDS = 1.0
_OPEN = Path("/proc/self/fd")


def demand_enough_files() -> None:
    """Refuse to start where not one cell could be opened.

    Raises:
        ConfigurationError: naming the limit.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < _FEWEST_FILES:
        raise ConfigurationError(
            f"the limit of open files is {most}, and the service needs {_FEWEST_FILES}; "
            f"raise it to {ENOUGH_FILES} or more ({_WHERE})"
        )


def warn_of_few_files() -> None:
    """Say in the log if fewer files may be open than a busy service needs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < ENOUGH_FILES:
        log.warning("few files may be open", limit=most, wanted=ENOUGH_FILES, where=_WHERE)


def file_limit() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_files() -> int | None:
    """How many more it may open; None where the system does not tell."""
    try:
        return file_limit() - len(os.listdir(_OPEN))  # noqa: PTH208 (names alone: it is asked before each write)
    except FileNotFoundError:
        return None
    except OSError:  # not even this folder could be opened
        return 0


def too_many_files() -> RetrievalUnavailable:
    """The error of a process that may open no more files."""
    return RetrievalUnavailable(
        "the retrieval service has too many files open for now",
        detail=f"the limit of open files of this process is {file_limit()}; "
        f"raise it to {ENOUGH_FILES} or more ({_WHERE})",
        retry_after=_RETRY_SECONDS,
    )


class FileRoom:
    """Sees to it that those who open files at once do not count on the same ones. Usable from several threads."""

    def __init__(self) -> None:
        self._promised = 0
        self._turn = threading.Lock()

    @contextmanager
    def promised(self, files: int) -> Iterator[None]:
        """Have so many files to open inside the block.

        Raises:
            RetrievalUnavailable: if there are not so many.
        """
        with self._turn:
            free = free_files()
            if free is not None and free - self._promised - _FILES_KEPT_FREE < files:
                raise too_many_files()
            self._promised += files
        try:
            yield
        finally:
            with self._turn:
                self._promised -= files
