"""A source that is imported again: passages that its files and rows no longer have go first, and what stays is said.

First, so that an import that is cut off leaves too little to be found, never a passage that no file has any more. What
is to go is asked of the store each time, for a journal may be missing or lack what others did.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from vecsec_cli.importing.file_tree import file_of
from vecsec_cli.importing.records import BadRecord, Passage, SourceError, SourceRecord
from vecsec_cli.stored_ids import stored_ids
from vecsec_client import Document, PermissionDenied, VecSecClient

_IDS_A_CALL = 500
"""Passages are short: so many fit into an answer with their texts."""
_NUMBERED = re.compile(r"(.+)#[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Collection:
    """Where documents are."""

    client: VecSecClient
    tenant: str
    collection: str

    def ids(self) -> Iterator[str]:
        """All ids that the caller may read, ascending."""
        return stored_ids(self.client, tenant=self.tenant, collection=self.collection)

    def passages_of(self, origin: str, ids: Sequence[str], *, key: str = "path") -> list[str]:
        """Those that an import of this file stored, by their metadata; a row of such an id may be another's."""
        return [each.document_id for each in self.documents(ids) if each.metadata.get(key) == origin]

    def documents(self, ids: Sequence[str]) -> Iterator[Document]:
        """Those of these that are there."""
        for some in _calls(ids):
            yield from self.client.get_documents(some, tenant=self.tenant, collection=self.collection).documents

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; says how many.

        Raises:
            PermissionDenied: if this caller may not; some may be gone then.
        """
        return sum(
            self.client.delete_documents(some, tenant=self.tenant, collection=self.collection).deleted_count
            for some in _calls(ids)
        )


@dataclass(slots=True)
class Replacement:
    """What a collection has of a tree's files, and what became of it."""

    where: Collection
    removed: int = 0
    _stored: sqlite3.Connection = field(init=False)

    def __post_init__(self) -> None:
        """Ask the store.

        Raises:
            SourceError: if the ids find no room in a temporary file.
        """
        self._stored = sqlite3.connect("", isolation_level=None)
        self._stored.execute("PRAGMA journal_mode = OFF")
        self._stored.execute("CREATE TABLE stored (id TEXT PRIMARY KEY, file TEXT) WITHOUT ROWID")
        self._stored.execute("CREATE TABLE replaced (file TEXT PRIMARY KEY) WITHOUT ROWID")
        self._stored.execute("BEGIN")
        try:
            rows = ((each, file_of(each)) for each in self.where.ids())
            self._stored.executemany("INSERT OR IGNORE INTO stored VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise SourceError(f"cannot remember the ids in a temporary file: {error}") from error

    def applied_to(
        self, records: Iterable[SourceRecord], on_held_back: Callable[[BadRecord], None]
    ) -> Iterator[SourceRecord]:
        """The same records; before the passages of a file come, those that it has no more are gone.

        A file whose surplus this caller may not delete becomes a bad record, of which `on_held_back` hears first.

        Raises:
            VecSecError: if a service refuses or fails; the collection may have lost some of its surplus then.
        """
        for (origin, _), group in groupby(records, key=_origin):
            if not origin:
                yield from group
                continue
            passages = list(group)
            left = self._remove_surplus(
                origin, {each.document.document_id for each in passages if isinstance(each, Passage)}
            )
            if left:
                refusal = held_back(passages[0], origin, left)
                on_held_back(refusal)
                yield refusal
            else:
                self._stored.execute("INSERT OR IGNORE INTO replaced VALUES (?)", (origin,))
                yield from passages

    def staying(self, refused: Iterable[str]) -> dict[str, int]:
        """How many passages stay of each file that the folder has no more, or that was refused (these ids were)."""
        again = {file_of(each) for each in refused}
        query = (
            "SELECT file, count(*), max(file IN (SELECT file FROM replaced)) FROM stored "
            "WHERE file NOT NULL GROUP BY file"
        )
        return {
            file: count for file, count, is_replaced in self._stored.execute(query) if not is_replaced or file in again
        }

    def prune(self, folder: Path, refused: Iterable[str]) -> None:
        """Delete the passages of files that are not below this folder any more, read or not; where the caller may not,
        they stay."""
        for file in self.staying(refused):
            # Whatever was not read today, for its format, its encoding or an option: it is there.
            if os.path.lexists(folder / file):
                continue
            ids = self.where.passages_of(file, self._stored_of(file))
            try:
                self.removed += self.where.delete(ids)
            except PermissionDenied:
                return
            self._stored.executemany("DELETE FROM stored WHERE id = ?", ((each,) for each in ids))

    def _remove_surplus(self, origin: str, wanted: AbstractSet[str]) -> int:
        """Delete what a file has no more; how many passages had to be left."""
        surplus = [each for each in self._stored_of(origin) if each not in wanted]
        surplus = self.where.passages_of(origin, surplus) if surplus else []
        if surplus:
            try:
                self.removed += self.where.delete(surplus)
            except PermissionDenied:
                return len(self.where.passages_of(origin, surplus))
            self._stored.executemany("DELETE FROM stored WHERE id = ?", ((each,) for each in surplus))
        return 0

    def _stored_of(self, origin: str) -> list[str]:
        query = "SELECT id FROM stored WHERE id = ? OR (id > ? AND id < ?)"
        found = (row[0] for row in self._stored.execute(query, (origin, f"{origin}#", f"{origin}$")))
        return [each for each in found if each == origin or ((m := _NUMBERED.fullmatch(each)) and m[1] == origin)]


def _origin(record: SourceRecord) -> tuple[str, int]:
    return ("", 0) if isinstance(record, BadRecord) else (record.origin, record.line)


def held_back(passage: SourceRecord, origin: str, left: int) -> BadRecord:
    """What is said of a file, or row, that is left out because so much of its surplus has to stay."""
    reason = (
        f"left as it was: {left} passages of an earlier import, which it has no more, "
        "cannot be deleted with this token; import it with one of a role that may delete"
    )
    return BadRecord(line=passage.line, place=passage.place, document_id=origin, field="", reason=reason)


def _calls(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IDS_A_CALL] for start in range(0, len(ids), _IDS_A_CALL)]
