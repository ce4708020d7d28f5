"""An index of the violations and denials in the audit log, so that they can be counted and listed.

It is derived: it may be removed at any time and is made again from the log. It never decides anything.
"""

import contextlib
import json
import sqlite3
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from vecsec_policy.audit.chain import START, Link, link_of
from vecsec_policy.audit.foreign_use import FOREIGN_ACCESS, use_from_fields
from vecsec_policy.audit.log import FILES_REMOVED
from vecsec_policy.audit.log_files import first_record, log_files, sequence_in_name
from vecsec_policy.audit.reading import RecordedDecision, decision_from_line
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome
from vecsec_policy.violations import foreign_access

_VERSION = 2
"""Of the tables; an index of another version is made anew."""
_VIOLATIONS_A_RECORD = 16
"""A violation's position is its record's number times this, plus its place among the record's violations."""
_LINES_AT_ONCE = 5_000
_NO_VIOLATIONS = b'"violations":{}'
_DENIED = b'"outcome":"denied"'
_FILES_REMOVED = f'"kind":"{FILES_REMOVED}"'.encode()
_TABLES = f"""
    CREATE TABLE reached (replica TEXT, sequence INTEGER, hash TEXT, file_sequence INTEGER, start INTEGER, end INTEGER,
        since_ms INTEGER);
    CREATE TABLE violations (position INTEGER PRIMARY KEY, tenant_id TEXT, violation_type TEXT, count INTEGER,
        time_ms INTEGER, incident_id TEXT, request_id TEXT, subject TEXT, role TEXT, requested_tenant_id TEXT,
        action TEXT, policy_version TEXT);
    CREATE INDEX violations_in_order ON violations (tenant_id, position);
    CREATE INDEX violations_by_time ON violations (tenant_id, time_ms, violation_type, count);
    CREATE INDEX violations_by_incident ON violations (incident_id);
    CREATE TABLE denials (sequence INTEGER PRIMARY KEY, tenant_id TEXT, time_ms INTEGER);
    CREATE INDEX denials_by_time ON denials (tenant_id, time_ms);
    {foreign_access.TABLES}
    PRAGMA user_version = {_VERSION};
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _ReadPosition:
    """The last record that was read: the index holds everything up to it."""

    replica: str = ""
    sequence: int = START.sequence
    hash: str = START.hash
    file_sequence: int = 0
    """The number of the first record of its file."""
    start: int = 0
    """Where its line begins in the file, in bytes."""
    end: int = 0
    since_ms: int = 0
    """When the oldest record of the log was written, in milliseconds since the epoch."""


class ViolationIndex:
    """Reads what is new in the log whose newest file is `log_path`. For one thread."""

    def __init__(self, log_path: Path, index_path: Path) -> None:
        """Open the index; make it anew if it is damaged or another log's.

        Raises:
            sqlite3.Error, OSError: if it cannot be opened or the log cannot be read.
        """
        self._log_path = log_path
        self._index_path = index_path
        self._position = _ReadPosition()
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            log.warning("violation index is not this log's, making it anew", path=str(index_path), error=str(error))
            remove_index(index_path)
            self._open()

    @property
    def sequence(self) -> int:
        """The number of the last record that was read."""
        return self._position.sequence

    def close(self) -> None:
        """Close it; where it ends is kept, if it can be."""
        with contextlib.suppress(sqlite3.Error), self._connection:
            self._save_position()
        self._connection.close()

    def read_some_more(self) -> bool:
        """Read some of what is new in the log; False once there is nothing more.

        Raises:
            sqlite3.Error, OSError: then nothing of this round is in the index, and it can be called again.
        """
        before = self._position
        try:
            with self._connection:
                lines, changed = self._read_some()
                if changed:
                    self._save_position()
        except (sqlite3.Error, OSError):
            self._position = before
            raise
        return lines == _LINES_AT_ONCE

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._index_path, isolation_level="DEFERRED")
        self._index_path.chmod(0o600)
        # Readers do not wait for the writer, and a lost last transaction is only read from the log again.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._connection.executescript(_TABLES)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        row = self._connection.execute("SELECT * FROM reached").fetchone()
        self._position = _ReadPosition() if row is None else _ReadPosition(*row)
        if row is not None and not self._is_of_this_log():
            raise sqlite3.DatabaseError("another log's")

    def _is_of_this_log(self) -> bool:
        """Whether the last record that was read still is where it was, if its file still is there."""
        files = {first: file for file, first in self._files()}
        file = files.get(self._position.file_sequence)
        if file is None:
            return not files or max(files) > self._position.sequence
        with file.open("rb") as content:
            content.seek(self._position.start)
            link = link_of(content.read(self._position.end - self._position.start))
        return link is not None and link.hash == self._position.hash

    def _files(self) -> list[tuple[Path, int]]:
        """The chained files of the log, each with the number of its first record."""
        rotated = [(file, sequence_in_name(file)) for file in log_files(self._log_path) if file != self._log_path]
        newest = self._newest_file()
        return [*(each for each in rotated if each[1] != START.sequence), *newest]

    def _newest_file(self) -> list[tuple[Path, int]]:
        first = first_record(self._log_path) if self._log_path.exists() else None
        return [] if first is None else [(self._log_path, first.sequence)]

    def _files_to_read(self) -> list[tuple[Path, int]]:
        """Those with more than was read; usually that is the newest one, for which no folder is looked through."""
        newest = self._newest_file()
        if newest and newest[0][1] == self._position.file_sequence:
            return newest
        files = self._files()
        behind = [place for place, (_, first) in enumerate(files) if first <= self._position.sequence + 1]
        return files[behind[-1] :] if behind else files

    def _read_some(self) -> tuple[int, bool]:
        """Read a bounded number of lines: how many, and whether the index changed."""
        lines = 0
        changed = False
        for file, first in self._files_to_read():
            start = self._position.end if first == self._position.file_sequence else 0
            with file.open("rb") as content:
                content.seek(start)
                for line in content:
                    if not line.endswith(b"\n"):
                        break  # still being written
                    link = link_of(line)
                    if link is not None and link.is_genuine and link.sequence > self._position.sequence:
                        changed = self._read_record(line, link) or changed
                        self._position = replace(
                            self._position,
                            replica=link.replica,
                            sequence=link.sequence,
                            hash=link.hash,
                            file_sequence=first,
                            start=start,
                            end=start + len(line),
                        )
                    start += len(line)
                    lines += 1
                    if lines == _LINES_AT_ONCE:
                        return lines, changed
        return lines, changed

    def _read_record(self, line: bytes, link: Link) -> bool:
        """Take a record into the index; whether there was anything to take."""
        is_first = not self._position.since_ms
        if is_first:
            self._position = replace(self._position, since_ms=_milliseconds(json.loads(line)["time"]))
        if _FILES_REMOVED in line:
            self._forget(json.loads(line))
            return True
        is_foreign = foreign_access.may_be_foreign(line)
        if _NO_VIOLATIONS in line and _DENIED not in line and not is_foreign:
            return is_first
        try:
            if link.kind == FOREIGN_ACCESS:
                foreign_access.take_use(self._connection, link.sequence, use_from_fields(json.loads(line)))
                return True
            decision = decision_from_line(line)
        except ValueError as error:
            log.error("audit record is of another version of VecSec, not counted", error=str(error))
            return is_first
        if decision is None:
            return is_first
        self._take(decision)
        return True

    def _take(self, decision: RecordedDecision) -> None:
        time_ms = round(decision.time.timestamp() * 1000)
        foreign_access.take_decision(self._connection, decision)
        # An explanation is an answer, also where it says no.
        if decision.outcome is AuditedOutcome.DENIED and decision.call is not AuditedCall.EXPLAIN:
            self._connection.execute(
                "INSERT INTO denials VALUES (?, ?, ?)", (decision.sequence, decision.caller_tenant_id, time_ms)
            )
        self._connection.executemany(
            "INSERT INTO violations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    decision.sequence * _VIOLATIONS_A_RECORD + ordinal,
                    decision.caller_tenant_id,
                    violation.value,
                    count,
                    time_ms,
                    decision.incident_id,
                    decision.request_id,
                    decision.subject,
                    decision.role,
                    decision.tenant_id,
                    decision.action.value,
                    decision.policy_version,
                )
                for ordinal, (violation, count) in enumerate(decision.violations.items())
            ],
        )

    def _forget(self, note: dict[str, Any]) -> None:
        """Files of the log were removed: an index made anew would not have what was in them."""
        through: int = note["through_sequence"]
        self._connection.execute("DELETE FROM violations WHERE position < ?", ((through + 1) * _VIOLATIONS_A_RECORD,))
        self._connection.execute("DELETE FROM denials WHERE sequence <= ?", (through,))
        self._connection.execute("DELETE FROM foreign_access WHERE position <= ?", (through,))
        self._position = replace(self._position, since_ms=_milliseconds(note["kept_since"]))

    def _save_position(self) -> None:
        self._connection.execute("DELETE FROM reached")
        self._connection.execute("INSERT INTO reached VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(self._position))


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def remove_index(index_path: Path) -> None:
    """Remove an index with the files that SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        index_path.with_name(index_path.name + suffix).unlink(missing_ok=True)
