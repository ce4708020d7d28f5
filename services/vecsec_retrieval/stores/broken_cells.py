"""Reads what can still be read of an embedded cell that is damaged, row by row, from its SQLite file.

Rows come from the log, whole and with their embeddings. Where entries of it cannot be read, nobody knows whether they
replaced or deleted others: then only rows that the log's index, too, knows as the last of their id are taken. Of a cell
of VecSec 0.1, texts, labels and metadata come from ChromaDB's tables; embeddings are in index files, and are not read.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vecsec_retrieval.model.rows import MetadataValue, StoredRow
from vecsec_retrieval.stores.chroma_collections import MODEL_KEY
from vecsec_retrieval.stores.embedded.checked_rows import TornRow, read_row
from vecsec_retrieval.stores.embedded.record import CHECK_LOG, DATABASE_FILE, DELETE, TOPIC

_DOCUMENT_KEY = "chroma:document"
_MOST_UNREADABLE = 100_000
"""Ids are tried one after the other; after so many that cannot be read, the rest is taken for lost."""

_COLLECTIONS = """
    SELECT segments.id, collections.id, collections.name, collection_metadata.str_value
    FROM collections
    JOIN segments ON segments.collection = collections.id AND segments.scope = 'METADATA'
    JOIN collection_metadata ON collection_metadata.collection_id = collections.id AND collection_metadata.key = ?
"""
_IS_LOGGED = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'vecsec_cell'"
_ENTRY = "SELECT topic, id, operation FROM embeddings_queue WHERE seq_id = ?"
_LOGGED_ROW = "SELECT id, vector, encoding, metadata FROM embeddings_queue WHERE seq_id = ?"
_VERSION = "SELECT max(seq_id) FROM embeddings_queue INDEXED BY vecsec_log WHERE topic = ? AND id = ?"
"""Answered by the index alone, which has pages of its own."""
_ROW = "SELECT segment_id, embedding_id FROM embeddings WHERE id = ?"
_METADATA = "SELECT key, string_value, int_value, float_value, bool_value FROM embedding_metadata WHERE id = ?"


class UnreadableCell(Exception):
    """Nothing at all can be read; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class SalvagedRow:
    """A row, and the collection that it is of."""

    collection_id: str
    embedding_model: str
    row: StoredRow


class BrokenCell:
    """A cell's directory, which is only read. No other process may write to it meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._database = directory / DATABASE_FILE
        self.unreadable_rows = 0
        """How many rows are there that cannot be read, as far as `rows` has come."""

    def rows(self) -> Iterator[SalvagedRow]:
        """Every row that can be read.

        Raises:
            UnreadableCell: if not even the collections can be read.
        """
        # Immutable: SQLite then neither locks nor writes, and does not look for a journal.
        location = f"file:{quote(str(self._database.absolute()))}?mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(location, uri=True)) as connection:
                collections = list(connection.execute(_COLLECTIONS, (MODEL_KEY,)))
                if connection.execute(_IS_LOGGED).fetchone() == (1,):
                    by_topic = {TOPIC + collection: (name, model) for _, collection, name, model in collections}
                    yield from self._logged(connection, by_topic)
                else:
                    by_segment = {segment: of for segment, _, *of in collections}
                    for number in _numbers(connection, "embeddings", "id"):
                        salvaged = self._row(connection, number, by_segment)
                        if salvaged is not None:
                            yield salvaged
        except sqlite3.Error as error:
            raise UnreadableCell(f"{self._database}: {error}") from error

    def _logged(
        self, connection: sqlite3.Connection, collections: Mapping[str, tuple[str, str]]
    ) -> Iterator[SalvagedRow]:
        latest: dict[tuple[str, str], tuple[int, int]] = {}
        for number in _numbers(connection, "embeddings_queue", "seq_id"):
            try:
                entry = connection.execute(_ENTRY, (number,)).fetchone()
            except sqlite3.DatabaseError:
                self._note_unreadable()
                continue
            if entry is not None and entry[0] in collections:
                topic, document_id, operation = entry
                latest[topic, document_id] = number, operation
        log_is_whole = not self.unreadable_rows and _is_sound(connection)
        for (topic, document_id), (number, operation) in latest.items():
            collection_id, embedding_model = collections[topic]
            try:
                if operation == DELETE:
                    continue
                if not log_is_whole and connection.execute(_VERSION, (topic, document_id)).fetchone() != (number,):
                    continue  # what replaced or deleted it is counted already
                row = read_row(*connection.execute(_LOGGED_ROW, (number,)).fetchone(), with_embeddings=True)
            except (sqlite3.DatabaseError, TornRow):
                self._note_unreadable()
            else:
                yield SalvagedRow(collection_id, embedding_model, row)

    def _note_unreadable(self) -> None:
        """One more row is lost.

        Raises:
            UnreadableCell: if so many are that it makes no sense to go on.
        """
        self.unreadable_rows += 1
        if self.unreadable_rows > _MOST_UNREADABLE:
            raise UnreadableCell(f"{self._database}: more than {_MOST_UNREADABLE:,} rows cannot be read")

    def _row(
        self, connection: sqlite3.Connection, number: int, collections: Mapping[str, list[str]]
    ) -> SalvagedRow | None:
        try:
            found = connection.execute(_ROW, (number,)).fetchone()
            if found is None or found[0] not in collections:
                return None
            metadata = {key: _value(*values) for key, *values in connection.execute(_METADATA, (number,))}
        except sqlite3.DatabaseError:
            self._note_unreadable()
            return None
        text = metadata.pop(_DOCUMENT_KEY, "")
        collection_id, embedding_model = collections[found[0]]
        return SalvagedRow(collection_id, embedding_model, StoredRow(found[1], str(text), metadata))


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        return bool(connection.execute(CHECK_LOG).fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def _numbers(connection: sqlite3.Connection, table: str, column: str) -> range:
    (last,) = connection.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608 (our own words)
    return range(1, (last or 0) + 1)


def _value(text: str | None, whole: int | None, real: float | None, truth: int | None) -> MetadataValue | None:
    if truth is not None:
        return bool(truth)
    return text if text is not None else whole if whole is not None else real
