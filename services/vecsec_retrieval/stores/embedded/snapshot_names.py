"""What an embedded cell's record says of snapshots: which fits the log, and what the log has forgotten.

A deletion may be forgotten once the snapshot that fits holds it. No snapshot that is older than a forgotten deletion
fits any more: its row would be there again.
"""

import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import asdict, astuple

import orjson

from vecsec_retrieval.model.store import SnapshotName

_IS_THERE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'vecsec_snapshot'"
CHECK_SNAPSHOTS = "PRAGMA integrity_check(vecsec_snapshot)"
_MAKE = """
    CREATE TABLE IF NOT EXISTS vecsec_snapshot
    (
        topic TEXT PRIMARY KEY, file_name TEXT, checksum INTEGER, position INTEGER, seal INTEGER,
        forgotten INTEGER NOT NULL DEFAULT 0
    )
"""
"""Of a collection, the snapshot that fits, if there is one, with a checksum over what is said of it, and the last
deletion that the log has forgotten."""
_NAME = """
    INSERT INTO vecsec_snapshot VALUES (:topic, :file_name, :checksum, :position, :seal, 0)
    ON CONFLICT (topic) DO UPDATE SET file_name = :file_name, checksum = :checksum, position = :position, seal = :seal
    WHERE :position IS NULL OR :position >= max(coalesce(position, 0), forgotten)
"""
_NOTE_FORGOTTEN = """
    INSERT INTO vecsec_snapshot (topic, forgotten) VALUES (?, ?)
    ON CONFLICT (topic) DO UPDATE SET forgotten = max(forgotten, excluded.forgotten)
"""


class SnapshotNames:
    """One cell's, over an open connection; sqlite3.Error is raised where the file is not what it should be. Who changes
    something has a transaction open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def are_kept(self) -> bool:
        """Whether anything was ever said."""
        return bool(self._connection.execute(_IS_THERE).fetchone()[0])

    def make(self) -> None:
        """Be ready to be told something."""
        self._connection.execute(_MAKE)

    def find(self, topic: str, last_position: int) -> SnapshotName | None:
        """The snapshot of a collection that fits the log, which ends at this position."""
        if not self.are_kept:
            return None
        question = "SELECT file_name, checksum, position, seal FROM vecsec_snapshot WHERE topic = ?"
        found = self._connection.execute(question, (topic,)).fetchone()
        if found is None or found[0] is None:
            return None
        file_name, checksum, position, seal = found
        # Where it is not what was written, or of a time that is not yet, there is none: it is made again.
        is_right = seal == _seal(topic, (file_name, checksum, position)) and position <= last_position
        return SnapshotName(file_name, checksum, position) if is_right else None

    def file_names(self) -> frozenset[str]:
        """The files that any collection goes by, whether they fit or not."""
        if not self.are_kept:
            return frozenset()
        found = self._connection.execute("SELECT file_name FROM vecsec_snapshot WHERE file_name IS NOT NULL").fetchall()
        return frozenset(name for (name,) in found)

    def put(self, topic: str, name: SnapshotName | None) -> bool:
        """From now on this is the one that fits; None: none does. False if it is older than one that does, or than what
        the log has forgotten since."""
        values = dict.fromkeys(("file_name", "checksum", "position", "seal"))
        if name is not None:
            values = {**asdict(name), "seal": _seal(topic, astuple(name))}
        self.make()
        return self._connection.execute(_NAME, {"topic": topic, **values}).rowcount > 0

    def note_forgotten(self, topic: str, position: int) -> None:
        """The log no longer knows of a deletion at this position."""
        self._connection.execute(_NOTE_FORGOTTEN, (topic, position))


def _seal(topic: str, values: Iterable[object]) -> int:
    return zlib.crc32(orjson.dumps([topic, *values]))
