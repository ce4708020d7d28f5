"""An audit log on disk: chained lines, appended to a file that is rotated by size. For one thread of one process."""

import fcntl
import hashlib
import json
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.process.writable_folders import demand_writable
from vecsec_policy.audit.chain import REPLICA_ID, START, chained
from vecsec_policy.audit.log_files import (
    LogEnd,
    first_record,
    first_record_time,
    log_end,
    log_files,
    rotated_file,
    unchained_file,
)
from vecsec_policy.audit.records import timestamp

LOG_RESUMED = "log_resumed"
"""Says how many bytes of torn lines a crash left before it."""
FILES_REMOVED = "files_removed"
"""Says up to which record files were removed because only so many are kept."""
EARLIER_LOG_SEALED = "earlier_log_sealed"
"""The first record of a log that began as one without a chain; has that file's hash."""
RECORDS_LOST = "records_lost"
"""Says how many records were given up because the log could not be written for too long."""

_OWNER_ONLY = 0o600
_REMOVED_AT_ONCE = 1_000
"""Their names are in a record; the next rotation goes on."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How an audit log is kept."""

    path: Path
    """The newest file."""
    replica_id: str | None = None
    """Names the log in each record; by default as the log says already, or the host's name for a new one."""
    file_bytes: int = 64 * 1024 * 1024
    """A file that would grow beyond this is rotated."""
    files_kept: int | None = None
    """How many rotated files are kept; None does not count them."""
    bytes_kept: int | None = None
    """How large all files may be together; None does not ask. One rotated file is kept whatever is said."""


class AuditLog:
    """Appends records. What could not be written is kept, and the chain goes on after it."""

    def __init__(self, settings: LogSettings, clock: Callable[[], float] = time.time) -> None:
        """Open the log, where it is continued or begun.

        Raises:
            ConfigurationError: if it cannot be read or appended to, or is another replica's.
        """
        self._path = settings.path
        self._settings = settings
        self._clock = clock
        self._pending: deque[bytes] = deque()
        self._unwritten = bytearray()
        self._announced: list[Path] = []
        self.written_bytes = 0
        """Since the log was opened."""
        with ExitStack() as opened:
            try:
                demand_appendable(self._path)
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(self._path)
                opened.callback(os.close, self._lock)
                end = log_end(self._path)
                self.replica_id = _replica_id(settings, end)
                self._chained = self.head = START if end.last is None else end.last.head
                self._resume(end)
                self._descriptor = _open(self._path)
                self._size = os.fstat(self._descriptor).st_size
            except OSError as error:
                raise _cannot_append(self._path, error) from error
            opened.pop_all()

    @property
    def path(self) -> Path:
        """Its newest file."""
        return self._path

    @property
    def bytes_kept(self) -> int | None:
        """How large all files may become together; None if that has no bound."""
        settings = self._settings
        by_number = None if settings.files_kept is None else (settings.files_kept + 1) * settings.file_bytes
        return min((bound for bound in (settings.bytes_kept, by_number) if bound is not None), default=None)

    @property
    def unwritten_bytes(self) -> int:
        """How much waits to be written."""
        return len(self._unwritten) + sum(len(line) for line in self._pending)

    def add(self, record: str) -> None:
        """Put a record, a JSON object that begins with its kind, at the end of the chain; `write` brings it to disk."""
        line, self._chained = chained(record, self.replica_id, self._chained)
        self._pending.append(line)

    def add_note(self, kind: str, **fields: object) -> None:
        """Put a record about the log itself at the end of the chain."""
        self.add(json.dumps({"kind": kind, "time": timestamp(self._clock())} | fields, separators=(",", ":")))

    def write(self) -> None:
        """Bring everything that was added to disk.

        Raises:
            OSError: if the system does not take it; then calling again goes on where this ended, within a line too.
        """
        while self._unwritten or self._pending:
            if not self._unwritten:
                self._follow_moved_file()
                self._take_lines()
            # Only what the system took is dropped: a disk that fills up in the middle tears no line.
            written = os.write(self._descriptor, self._unwritten)
            self._size += written
            self.written_bytes += written
            del self._unwritten[:written]
        os.fsync(self._descriptor)
        self.head = self._chained
        self._remove_announced()

    def close(self) -> None:
        """Close the log, whatever is still unwritten."""
        os.close(self._descriptor)
        os.close(self._lock)

    def _resume(self, end: LogEnd) -> None:
        if end.last is None and end.torn_bytes and not unchained_file(self._path).exists():
            self._seal_earlier_log()
        elif end.ends_in_line or end.torn_bytes:
            if end.ends_in_line:
                self._pending.append(b"\n")
            if end.torn_bytes:
                self.add_note(LOG_RESUMED, torn_bytes=end.torn_bytes + end.ends_in_line)

    def _seal_earlier_log(self) -> None:
        """Keep a log from before records were chained: from now on nobody can alter it unnoticed."""
        kept = unchained_file(self._path)
        self._path.rename(kept)
        with kept.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self.add_note(EARLIER_LOG_SEALED, file=kept.name, bytes=kept.stat().st_size, sha256=digest)

    def _take_lines(self) -> None:
        """As many whole lines as there is room for in the file; a file has one line at least."""
        if self._size and self._size + len(self._pending[0]) > self._settings.file_bytes:
            self._rotate()
        room = self._settings.file_bytes - self._size
        while self._pending and (not self._unwritten or len(self._unwritten) + len(self._pending[0]) <= room):
            self._unwritten += self._pending.popleft()

    def _rotate(self) -> None:
        os.fsync(self._descriptor)
        first = first_record(self._path)
        self._path.rename(rotated_file(self._path, self._chained.sequence if first is None else first.sequence))
        self._reopen()
        self._announce_removal()

    def _announce_removal(self) -> None:
        """Say in the log which files go, before they do."""
        rotated = [file for file in log_files(self._path) if file != self._path]
        count = surplus_files([file.stat().st_size for file in rotated], self._settings)
        if count == 0:
            return
        first_kept = first_record(rotated[count])
        if first_kept is None:
            return
        self._announced = rotated[:count]
        self.add_note(
            FILES_REMOVED,
            files=[file.name for file in self._announced],
            through_sequence=first_kept.sequence - 1,
            through_hash=first_kept.previous,
            kept_since=first_record_time(rotated[count]),
        )

    def _remove_announced(self) -> None:
        if self._announced:
            log.info("audit files removed", files=len(self._announced), newest=self._announced[-1].name)
        while self._announced:
            self._announced[0].unlink(missing_ok=True)
            del self._announced[0]

    def _follow_moved_file(self) -> None:
        try:
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                return
        except FileNotFoundError:
            pass
        self._reopen()

    def _reopen(self) -> None:
        before, self._descriptor = self._descriptor, _open(self._path)
        self._size = os.fstat(self._descriptor).st_size
        os.close(before)


def surplus_files(sizes: Sequence[int], settings: LogSettings) -> int:
    """How many rotated files of these sizes, the oldest first, are more than is kept; never all of them. The newest
    file, which is being written, counts as full."""
    room = math.inf if settings.bytes_kept is None else settings.bytes_kept - settings.file_bytes
    most = len(sizes) if settings.files_kept is None else settings.files_kept
    kept = 0
    for size in reversed(sizes):
        room -= size
        if kept and (room < 0 or kept >= most):
            break
        kept += 1
    return min(len(sizes) - kept, _REMOVED_AT_ONCE)


def _open(path: Path) -> int:
    """Open for appending; a new file's name is on disk before anything is in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return descriptor


def demand_appendable(path: Path) -> None:
    """Refuse a log that cannot be appended to, without taking it.

    Raises:
        ConfigurationError: naming the setting.
    """
    demand_writable(path.parent, "VECSEC_AUDIT_FILE")
    try:
        if path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    except OSError as error:
        raise _cannot_append(path, error) from error


def _cannot_append(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"VECSEC_AUDIT_FILE={path}: cannot be appended to ({error.strerror or error}); "
        "give it to the user of this service"
    )


def _locked(path: Path) -> int:
    """Keep every other process away: two writers would fork the chain."""
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_WRONLY | os.O_CREAT, _OWNER_ONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigurationError(
            f"VECSEC_AUDIT_FILE={path}: another policy service writes to it; give each replica a file of its own"
        ) from error
    return lock


def _replica_id(settings: LogSettings, end: LogEnd) -> str:
    known = None if end.last is None else end.last.replica
    wanted = settings.replica_id or known or socket.gethostname()
    if REPLICA_ID.fullmatch(wanted) is None:
        raise ConfigurationError(
            f"VECSEC_REPLICA_ID={wanted!r}: use letters, digits, and . _ - between them, at most 128 characters"
        )
    if known is not None and wanted != known:
        raise ConfigurationError(
            f"VECSEC_REPLICA_ID={wanted!r}: the log {settings.path} belongs to replica {known!r}; "
            "give each replica a VECSEC_AUDIT_FILE of its own, or set the id back"
        )
    return wanted
