"""Finds ids that stand twice in one source, in constant memory."""

import sqlite3
from collections.abc import Iterator

from vecsec_cli.importing.records import BadRecord, Passage, SourceError, SourceRecord


def without_repeated_ids(records: Iterator[SourceRecord]) -> Iterator[SourceRecord]:
    """The same records, where a passage whose id an earlier one has is a bad record.

    Ids are remembered in a temporary SQLite database, which lives in memory while it is small and goes to disk after.

    Raises:
        SourceError: if the temporary database finds no room.
    """
    memory = sqlite3.connect("", isolation_level=None)
    try:
        memory.execute("PRAGMA journal_mode = OFF")
        memory.execute("CREATE TABLE seen (document_id TEXT PRIMARY KEY, place TEXT NOT NULL) WITHOUT ROWID")
        memory.execute("BEGIN")
        for record in records:
            yield _unless_repeated(memory, record) if isinstance(record, Passage) else record
    except sqlite3.Error as error:
        raise SourceError(f"cannot remember the ids in a temporary file: {error}") from error
    finally:
        memory.close()


def _unless_repeated(memory: sqlite3.Connection, passage: Passage) -> SourceRecord:
    """The passage, if its id is new; it is remembered."""
    document_id = passage.document.document_id
    if memory.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (document_id, passage.place)).rowcount:
        return passage
    (first_place,) = memory.execute("SELECT place FROM seen WHERE document_id = ?", (document_id,)).fetchone()
    return BadRecord(
        line=passage.line,
        place=passage.place,
        document_id=document_id,
        field="id",
        reason=f"{document_id!r} already stands at {first_place}",
    )
