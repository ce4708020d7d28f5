"""Reads what can still be read of an embedded cell that ChromaDB itself refuses: row by row, from its SQLite file.

Texts, labels and metadata are there; embeddings are in ChromaDB's own index files, and are not read.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vecsec_retrieval.model.rows import MetadataValue, StoredRow
from vecsec_retrieval.stores.chroma_collections import MODEL_KEY
from vecsec_retrieval.stores.record import DATABASE_FILE

_DOCUMENT_KEY = "chroma:document"
_MOST_BROKEN_IN_A_ROW = 100_000
"""Ids are tried one after the other; after so many that cannot be read, the rest is taken for lost."""

_COLLECTIONS = """
    SELECT segments.id, collections.name, collection_metadata.str_value
    FROM collections
    JOIN segments ON segments.collection = collections.id AND segments.scope = 'METADATA'
    JOIN collection_metadata ON collection_metadata.collection_id = collections.id AND collection_metadata.key = ?
"""
_ROW = "SELECT segment_id, embedding_id FROM embeddings WHERE id = ?"
_METADATA = "SELECT key, string_value, int_value, float_value, bool_value FROM embedding_metadata WHERE id = ?"


class UnreadableCell(Exception):
    """Nothing at all can be read; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class SalvagedRow:
    """A row, without its embedding, and the collection that it is of."""

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
                collections = {row[0]: row[1:] for row in connection.execute(_COLLECTIONS, (MODEL_KEY,))}
                for number in _numbers(connection):
                    salvaged = self._row(connection, number, collections)
                    if salvaged is not None:
                        yield salvaged
        except sqlite3.Error as error:
            raise UnreadableCell(f"{self._database}: {error}") from error

    def _row(
        self, connection: sqlite3.Connection, number: int, collections: dict[str, tuple[str, str]]
    ) -> SalvagedRow | None:
        try:
            found = connection.execute(_ROW, (number,)).fetchone()
            if found is None or found[0] not in collections:
                return None
            metadata = {key: _value(*values) for key, *values in connection.execute(_METADATA, (number,))}
        except sqlite3.DatabaseError:
            self.unreadable_rows += 1
            if self.unreadable_rows > _MOST_BROKEN_IN_A_ROW:
                raise
            return None
        text = metadata.pop(_DOCUMENT_KEY, "")
        collection_id, embedding_model = collections[found[0]]
        return SalvagedRow(collection_id, embedding_model, StoredRow(found[1], str(text), metadata))


def _numbers(connection: sqlite3.Connection) -> range:
    (last,) = connection.execute("SELECT max(id) FROM embeddings").fetchone()
    return range(1, (last or 0) + 1)


def _value(text: str | None, whole: int | None, real: float | None, truth: int | None) -> MetadataValue | None:
    if truth is not None:
        return bool(truth)
    return text if text is not None else whole if whole is not None else real
