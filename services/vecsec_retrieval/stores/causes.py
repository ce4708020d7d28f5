"""Why the system refused something to the embedded store: not damage, but a limit, a right, or a folder that is gone.

ChromaDB and SQLite say it in their own words, or not at all; then it is tried once more, to see what is refused.
"""

import errno
import os
import re
import sqlite3
import tempfile
from pathlib import Path

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.stores.embedded.checked_rows import TornRow
from vecsec_retrieval.stores.folder import open_files

RETRY_SECONDS = 1.0

_NUMBER = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)|\[Errno (\d+)\]")
_CANNOT_USE = (
    *("(code: 14)", "unable to open database file"),
    *("(code: 8)", "readonly database"),
    *("(code: 10)", "(code: 1034)", "(code: 1290)", "(code: 2570)", "disk i/o error"),
)
"""How SQLite says that it could not open, write or sync a file, or the folder that it is in."""
_TOO_MANY_FILES = "too many open files"
_DETAILS = {
    errno.ENFILE: "the machine has too many files open; raise fs.file-max",
    errno.ENOMEM: "the system has no memory left for this process; raise its limit, or lower CHROMA_MEMORY_LIMIT",
    errno.EAGAIN: "no further thread may be started; raise the limit (ulimit -u, TasksMax= of the unit, pids_limit)",
    errno.EROFS: "its file system is read-only; remount it for writing",
    errno.EACCES: "it may not be read or written; give it to the user of this service (chown -R)",
    errno.EPERM: "the system does not permit it; look at the owner, and at what a sandbox (seccomp, SELinux) refuses",
    errno.ENOSYS: "a system call is refused; look at what the sandbox (seccomp) lets through",
    errno.ENOENT: "it is not there any more; put it back, or mount it",
    errno.ENOTDIR: "it is not there any more; put it back, or mount it",
    errno.ENODEV: "its disk is gone; mount it again",
    errno.ESTALE: "its file system is gone; mount it again",
    errno.EDQUOT: "the disk quota is used up; raise it, or make room",
}


def cause_of(error: BaseException, database: Path | None) -> RetrievalUnavailable | None:
    """What the system refused, as an error that names it; None if it is something else, such as damage."""
    if isinstance(error, TornRow) or type(error) is sqlite3.DatabaseError:
        return None  # something was read, and is wrong
    number = _number(error)
    if number is None and database is not None and any(mark in str(error).lower() for mark in _CANNOT_USE):
        number = _refused(database)
    if number == errno.EMFILE or (number is None and _are_files_short()):
        return open_files.too_many_files()
    if number not in _DETAILS:
        return None
    about = getattr(error, "filename", None) or (None if database is None else database.parent) or "the store"
    return RetrievalUnavailable(
        "the vector store does not answer",
        detail=f"{about}: {_DETAILS[number]} ({os.strerror(number)})",
        retry_after=RETRY_SECONDS,
    )


def _number(error: BaseException) -> int | None:
    """The system's number of what went wrong, as far as the error tells it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if found := _NUMBER.search(text):
        return int(next(group for group in found.groups() if group is not None))
    return errno.EMFILE if _TOO_MANY_FILES in text.lower() else None


def _are_files_short() -> bool:
    free = open_files.free_files()
    return free is not None and free < open_files.FILES_OF_A_WRITE


def _refused(database: Path) -> int | None:
    """What is refused when the file is opened, or one is made beside it; None if nothing is, by now."""
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CLOEXEC))
        with tempfile.TemporaryFile(dir=database.parent) as journal:  # as SQLite makes one
            journal.write(b"\0")
            journal.flush()
            os.fsync(journal.fileno())
    except OSError as error:
        return error.errno
    return None
