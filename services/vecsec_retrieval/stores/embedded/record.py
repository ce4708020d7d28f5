"""The record of an embedded cell: the log in ChromaDB's SQLite file, the only thing that an acknowledgement depends on.

ChromaDB writes each change into this log in one synced transaction. By itself it then drops what its vector index is
said to hold; that index is rewritten in place and never synced. Here nothing is dropped but what was replaced
(`forget_replaced`), and neither index nor tables are kept: all that is read of a cell is read from its log, where rows
stand bit for bit as they were given.

ChromaDB carries a SQLite of its own, which knows nothing of the locks of Python's in the same process. Whoever uses a
`Record` while ChromaDB is open keeps the two apart (see `EmbeddedCell`).
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_retrieval.model.rows import CollectionInfo, Matrix, StoredRow
from vecsec_retrieval.model.store import Change
from vecsec_retrieval.stores.chroma_collections import DIMENSIONS_KEY, MODEL_KEY
from vecsec_retrieval.stores.embedded.checked_rows import HALF, NUMBERS, TornRow, read_row
from vecsec_retrieval.stores.embedded.snapshot_names import CHECK_SNAPSHOTS, SnapshotNames

DATABASE_FILE = "chroma.sqlite3"
FORMAT = 2
"""The format of a cell. The first one, of VecSec 0.1, has no mark and keeps embeddings in ChromaDB's index files."""

CHECK_LOG = "PRAGMA integrity_check(embeddings_queue)"
"""Gives "ok", or what is wrong with the structure of the log and its indexes."""
TOPIC = "persistent://default/default/"
"""The log's name of a collection is this and its id."""
UPSERT, DELETE = 2, 3
"""The log's words for them."""
_KEEP_LOG = '{"automatically_purge":false,"_type":"EmbeddingsQueueConfigurationInternal"}'
_AHEAD_OF_EVERY_LOG = 2**62
"""A segment that is said to hold the log up to here is never given anything of it."""
_VALUES_A_QUERY = 500
_CHARACTERS_A_PAGE = 4_000_000
_BUSY_SECONDS = 10.0

_IS_THERE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
_COLLECTIONS = """
    SELECT collections.id, collections.name, model.str_value, dimensions.int_value FROM collections
    JOIN collection_metadata AS model ON model.collection_id = collections.id AND model.key = ?
    JOIN collection_metadata AS dimensions ON dimensions.collection_id = collections.id AND dimensions.key = ?
    ORDER BY collections.name
"""
_LATEST = "SELECT id, max(seq_id), operation FROM embeddings_queue WHERE topic = ? GROUP BY id"
_LATEST_OF = "SELECT id, max(seq_id), operation FROM embeddings_queue WHERE topic = ? AND id IN ({}) GROUP BY id"
_LIVE = """
    SELECT count(*) FROM (SELECT max(seq_id), operation FROM embeddings_queue GROUP BY topic, id) WHERE operation != ?
"""
_CHANGES = """
    SELECT seq_id, operation, id, vector, encoding, metadata FROM embeddings_queue NOT INDEXED
    WHERE topic = ? AND seq_id > ? ORDER BY seq_id LIMIT ?
"""
_ENTRIES = """
    SELECT seq_id, topic, operation, id, vector, encoding, metadata FROM embeddings_queue
    WHERE seq_id > ? ORDER BY seq_id LIMIT ?
"""
_LIVING = "SELECT max(seq_id), operation FROM embeddings_queue WHERE topic = ? GROUP BY id ORDER BY id"
_LIVING_COUNT = """
    SELECT count(*) FROM (SELECT max(seq_id), operation FROM embeddings_queue WHERE topic = ? GROUP BY id)
    WHERE operation != ?
"""
_ROWS = "SELECT seq_id, id, vector, encoding, metadata FROM embeddings_queue WHERE seq_id IN ({})"
_VECTORS = """
    SELECT seq_id, id, vector, json_extract(metadata, '$.vs_sum') FROM embeddings_queue
    WHERE seq_id IN ({}) ORDER BY seq_id
"""
_WITHOUT_EMBEDDING = """
    SELECT collections.name, embeddings.embedding_id FROM embeddings
    JOIN segments ON segments.id = embeddings.segment_id
    JOIN collections ON collections.id = segments.collection
    JOIN collection_metadata ON collection_metadata.collection_id = collections.id AND collection_metadata.key = ?
    LEFT JOIN embeddings_queue ON embeddings_queue.seq_id = embeddings.seq_id
    WHERE embeddings_queue.vector IS NULL
"""
_VECTOR_SEGMENTS = """
    SELECT segments.id, collection_metadata.int_value FROM segments
    JOIN collection_metadata ON collection_metadata.collection_id = segments.collection AND collection_metadata.key = ?
    WHERE segments.scope = 'VECTOR'
"""
_HOLD_EVERYTHING = """
    INSERT OR REPLACE INTO max_seq_id SELECT segments.id, ? FROM segments
    JOIN collection_metadata ON collection_metadata.collection_id = segments.collection AND collection_metadata.key = ?
"""
_ANY_IN_TABLES = "SELECT 1 FROM embeddings LIMIT 1"
_EMPTY_TABLES = (
    "DELETE FROM embedding_fulltext_search",
    "DELETE FROM embedding_metadata",
    "DELETE FROM embeddings",
)
_TOPICS = "SELECT DISTINCT topic FROM embeddings_queue"
_OUR_ROWS = """
    SELECT count(*) FROM embeddings_queue WHERE topic = ? AND json_extract(metadata, '$.vs_sum') IS NOT NULL
"""
_REPLACED = """
    SELECT embeddings_queue.topic, id, max(seq_id), operation, coalesce(position, 1 << 62)
    FROM embeddings_queue LEFT JOIN vecsec_snapshot ON vecsec_snapshot.topic = embeddings_queue.topic
    GROUP BY embeddings_queue.topic, id
    HAVING count(*) > 1 OR (operation = ? AND max(seq_id) < ? AND max(seq_id) <= coalesce(position, 1 << 62)) LIMIT ?
"""
"""Each with the position up to which deletions may be forgotten: a snapshot before them has the row."""

_FORGET_COLLECTION = (
    "DELETE FROM max_seq_id WHERE segment_id IN (SELECT id FROM segments WHERE collection = ?)",
    "DELETE FROM segment_metadata WHERE segment_id IN (SELECT id FROM segments WHERE collection = ?)",
    "DELETE FROM segments WHERE collection = ?",
    "DELETE FROM collection_metadata WHERE collection_id = ?",
    "DELETE FROM collections WHERE id = ?",
)
_FORGET_TOPIC = ("DELETE FROM embeddings_queue WHERE topic = ?", "DELETE FROM vecsec_snapshot WHERE topic = ?")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class RecordedCollection:
    """A collection that VecSec made."""

    info: CollectionInfo
    topic: str
    """What the log calls it."""


@dataclass(frozen=True, slots=True)
class CellMarks:
    """What a cell says of itself."""

    format: int
    tenant_id: str | None
    """Whose it is."""
    store_id: str | None
    """Of which store; None where it bears no mark of one."""
    shard: str | None
    """Which shard owns it; None where it bears no mark of one."""
    epoch: int
    """Since which epoch of the placement; 0 if since before there was one."""


class Record:
    """One cell's log. Every method blocks; sqlite3.Error is raised where the file is not what it should be."""

    def __init__(self, database: Path) -> None:
        """Open the file, which is there."""
        self.database = database
        self._open()

    def _open(self) -> None:
        location = f"file:{quote(str(self.database.absolute()))}?mode=rw"
        self._is_read_only = not os.access(self.database, os.W_OK)
        self._connection = sqlite3.connect(
            location, uri=True, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS
        )
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA temp_store = MEMORY")  # on a full disk, too, what is there is read
        except sqlite3.Error:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @property
    def format(self) -> int:
        """The cell's format; 1 where it bears no mark."""
        (is_marked,) = self._one(_IS_THERE, "vecsec_cell")
        return int(self._one("SELECT value FROM vecsec_cell WHERE key = 'format'")[0]) if is_marked else 1

    def rows_without_embedding(self) -> list[tuple[str, str]]:
        """Collection and id of each row whose embedding is not in the log."""
        return self._connection.execute(_WITHOUT_EMBEDDING, (MODEL_KEY,)).fetchall()

    def keep_log(self) -> None:
        """Have ChromaDB drop nothing from the log any more."""
        self._connection.execute("UPDATE embeddings_queue_config SET config_json_str = ?", (_KEEP_LOG,))

    @property
    def marks(self) -> CellMarks:
        """What a cell of the present format, or of a newer one, says of itself."""
        found = dict(self._connection.execute("SELECT key, value FROM vecsec_cell").fetchall())
        return CellMarks(
            format=int(found["format"]),
            tenant_id=found.get("tenant_id"),
            store_id=found.get("store_id"),
            shard=found.get("shard"),
            epoch=int(found.get("epoch", 0)),
        )

    def note_store(self, store_id: str) -> None:
        """Say of which store this cell is."""
        self._connection.execute("INSERT OR REPLACE INTO vecsec_cell VALUES ('store_id', ?)", (store_id,))

    def note_owner(self, shard: str, epoch: int) -> None:
        """Say which shard owns this cell, and since when."""
        with self.transaction():
            marks = [("shard", shard), ("epoch", epoch)]
            self._connection.executemany("INSERT OR REPLACE INTO vecsec_cell VALUES (?, ?)", marks)

    def mark(self, tenant_id: str) -> None:
        """Say that the log is all there is: the cell is one of the present format, and this tenant's."""
        with self.transaction():
            self.keep_log()
            self._connection.execute("CREATE INDEX IF NOT EXISTS vecsec_log ON embeddings_queue (topic, id, operation)")
            self._connection.execute("CREATE TABLE IF NOT EXISTS vecsec_cell (key TEXT PRIMARY KEY, value)")
            marks = [("tenant_id", tenant_id), ("format", FORMAT)]
            self._connection.executemany("INSERT OR REPLACE INTO vecsec_cell VALUES (?, ?)", marks)
        self.empty_tables()

    def vector_segments(self) -> list[tuple[str, int]]:
        """Of each collection that VecSec made, the folder of its vector index, and how long its vectors are."""
        return self._connection.execute(_VECTOR_SEGMENTS, (DIMENSIONS_KEY,)).fetchall()

    def say_segments_hold_everything(self) -> None:
        """Have ChromaDB believe that neither indexes nor tables lack anything of the log, so that it adds nothing."""
        with self.transaction():
            self._connection.execute(_HOLD_EVERYTHING, (_AHEAD_OF_EVERY_LOG, MODEL_KEY))

    def empty_tables(self) -> None:
        """Take away what ChromaDB's own tables hold of rows: texts would stay there that were deleted since."""
        if self._connection.execute(_ANY_IN_TABLES).fetchone() is not None:
            with self.transaction():
                for deletion in _EMPTY_TABLES:
                    self._connection.execute(deletion)

    def check(self) -> None:
        """Look at the structure of the log, page by page, whether its indexes name all rows, and whether it is known of
        which collections those are.

        Raises:
            TornRow: if it is not sound, in SQLite's words or ours.
        """
        for question in (CHECK_LOG, CHECK_SNAPSHOTS) if self.snapshots.are_kept else (CHECK_LOG,):
            (found,) = self._one(question)
            if found != "ok":
                raise TornRow(f"the log is not sound: {' '.join(str(found).split())}")
        known = {collection.topic for collection in self.collections()}
        for (topic,) in self._connection.execute(_TOPICS).fetchall():
            if topic not in known and self._one(_OUR_ROWS, topic)[0]:  # another program's rows bear no checksum
                raise TornRow(f"there are rows of a collection that is not: {topic}")

    def check_rows(self, after: int, count: int) -> int | None:
        """Look at so many entries after this position, but for those that were replaced; where they end, None if there
        are no more.

        Raises:
            TornRow: if one of them does not agree with its checksum.
        """
        position = None
        for position, topic, operation, document_id, *fields in self._connection.execute(_ENTRIES, (after, count)):
            try:
                if operation != DELETE:
                    read_row(document_id, *fields, with_embeddings=False)
            except TornRow:
                if self.positions(topic, [document_id]).get(document_id, position) == position:
                    raise
        return position

    def collections(self) -> list[RecordedCollection]:
        """The collections that VecSec made, by name."""
        rows = self._connection.execute(_COLLECTIONS, (MODEL_KEY, DIMENSIONS_KEY))
        return [
            RecordedCollection(CollectionInfo(name, model, dimensions), TOPIC + collection_id)
            for collection_id, name, model, dimensions in rows
        ]

    def position(self) -> int:
        """Of the last entry of the log."""
        return int(self._one("SELECT coalesce(max(seq_id), 0) FROM embeddings_queue")[0])

    def changes(self, topic: str, *, after: int, limit: int) -> list[Change]:
        """The first `limit` entries of a collection after this position, or fewer where they are large.

        Raises:
            TornRow: if one of them does not agree with its checksum.
        """
        changes: list[Change] = []
        size = 0
        for position, operation, document_id, *fields in self._connection.execute(_CHANGES, (topic, after, limit)):
            if operation == DELETE:
                changes.append(Change(position, document_id, None))
                continue
            row = read_row(document_id, *fields, with_embeddings=True)
            changes.append(Change(position, document_id, row))
            size += len(row.text)
            if size > _CHARACTERS_A_PAGE:
                break
        return changes

    def living(self, topic: str) -> NDArray[np.int64]:
        """Where in the log each living row stands, in the order of the ids."""
        found = self._connection.execute(_LIVING, (topic,))
        return np.fromiter((position for position, operation in found if operation != DELETE), dtype=np.int64)

    def living_count(self, topic: str) -> int:
        """How many rows are living."""
        return int(self._one(_LIVING_COUNT, topic, DELETE)[0])

    @property
    def snapshots(self) -> SnapshotNames:
        """Which snapshots fit the log."""
        return SnapshotNames(self._connection)

    def positions(self, topic: str, document_ids: Sequence[str] | None = None) -> dict[str, int]:
        """Where in the log each living row stands, by its id: of these ids, or of all."""
        if document_ids is None:
            found = self._connection.execute(_LATEST, (topic,)).fetchall()
        else:
            found = []
            for page in _pages(document_ids):
                found += self._connection.execute(_filled(_LATEST_OF, page), (topic, *page)).fetchall()
        return {document_id: position for document_id, position, operation in found if operation != DELETE}

    def rows(self, positions: Iterable[int], *, with_embeddings: bool) -> dict[int, StoredRow]:
        """The rows that stand at these positions.

        Raises:
            TornRow: if one of them does not agree with its checksum.
        """
        rows = {}
        for page in _pages(list(positions)):
            for position, *fields in self._connection.execute(_filled(_ROWS, page), page):
                rows[position] = read_row(*fields, with_embeddings=with_embeddings)
        return rows

    def vectors(self, positions: Sequence[int]) -> tuple[list[int], Matrix]:
        """The embeddings at these positions, and which is whose.

        Raises:
            TornRow: if one of them does not agree with its checksum.
        """
        found = []
        for page in _pages(positions):
            found += self._connection.execute(_filled(_VECTORS, page), page).fetchall()
        for _, document_id, vector, checksum in found:
            if checksum is not None and checksum & HALF != zlib.crc32(vector):
                raise TornRow(f"row {document_id!r}: its embedding does not agree with its checksum")
        numbers = b"".join(vector for _, _, vector, _ in found)
        vectors = np.frombuffer(numbers, dtype=NUMBERS).reshape(len(found), -1) if found else np.empty((0, 0))
        return [position for position, *_ in found], vectors.astype(np.float32, copy=False)

    def entries(self) -> int:
        """How many entries the log has."""
        return int(self._one("SELECT count(*) FROM embeddings_queue")[0])

    def count_rows(self) -> int:
        """How many rows there are in all collections of callers; labels are kept in some beside them."""
        callers = [each for each in self.collections() if is_collection_id(each.info.collection_id)]
        return sum(len(self.living(collection.topic)) for collection in callers)

    def used_bytes(self) -> int:
        """How large the file would be without the pages that are free in it; SQLite uses those again."""
        (pages,), (free,) = self._one("PRAGMA page_count"), self._one("PRAGMA freelist_count")
        return (int(pages) - int(free)) * int(self._one("PRAGMA page_size")[0])

    def replaced_entries(self) -> int:
        """How many of them no row needs any more."""
        return self.entries() - int(self._one(_LIVE, DELETE)[0])

    def forget_replaced(self, most: int) -> int:
        """Drop from the log what was replaced or deleted, of at most so many ids; how many entries that were."""
        last = self.position()
        entries = 0
        with self.transaction():
            self.snapshots.make()
            replaced = self._connection.execute(_REPLACED, (DELETE, last, most)).fetchall()
            for topic, document_id, position, operation, forgettable in replaced:
                # The last entry stays whatever it is: ChromaDB counts on from it.
                is_forgotten = operation == DELETE and position != last and position <= forgettable
                if is_forgotten:
                    self.snapshots.note_forgotten(topic, position)
                below = position + 1 if is_forgotten else position
                entries += self._connection.execute(
                    "DELETE FROM embeddings_queue WHERE topic = ? AND id = ? AND seq_id < ?",
                    (topic, document_id, below),
                ).rowcount
        return entries

    def write_many(self, statement: str, values: Sequence[Sequence[object]]) -> int:
        """Run a statement of ours for each of these, in a transaction that is open; how many rows it wrote."""
        return self._connection.executemany(statement, values).rowcount if values else 0

    def forget_collection(self, collection_id: str, topic: str) -> None:
        """Take all that there is of a collection out of the file, in a transaction that is open."""
        self.snapshots.make()
        for statement, value in (
            *((each, collection_id) for each in _FORGET_COLLECTION),
            *((each, topic) for each in _FORGET_TOPIC),
        ):
            self._connection.execute(statement, (value,))

    def ask(self, question: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """The rows that answer a question of ours."""
        return self._connection.execute(question, values).fetchall()

    def _one(self, question: str, *values: object) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._connection.execute(question, values).fetchone()
        return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._is_read_only:  # the disk was, when it was opened
            self._connection.close()
            self._open()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk ends it
                self._connection.execute("ROLLBACK")
            raise


def _pages(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    for start in range(0, len(values), _VALUES_A_QUERY):
        yield values[start : start + _VALUES_A_QUERY]


def _filled(question: str, values: Sequence[object]) -> str:
    """The question with a placeholder for each value."""
    return question.format(",".join("?" * len(values)))
