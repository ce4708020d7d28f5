"""One tenant's directory of the embedded store: written through ChromaDB, read from its log without it.

What is read here is what is not in memory yet, so that nothing is kept for it: vectors are compared, and labels and
filters looked at, row by row.
"""

import heapq
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

import numpy as np
import structlog

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.process.writable_folders import sync_folder
from vecsec_retrieval.model.embeddings import direction, normalised
from vecsec_retrieval.model.filters import predicate
from vecsec_retrieval.model.rows import CollectionInfo, Neighbour, StoredRow, Vector
from vecsec_retrieval.model.similarity import cosines, dot_products
from vecsec_retrieval.model.store import RowCondition, RowPage, RowsWanted
from vecsec_retrieval.stores.chroma_collections import ChromaCell, ErrorTranslation
from vecsec_retrieval.stores.embedded.change_log import EmbeddedChangeLog, WholeRows
from vecsec_retrieval.stores.embedded.checked_rows import sealed
from vecsec_retrieval.stores.embedded.large_writes import delete_rows, drop_collections, relabel_rows, replace_rows
from vecsec_retrieval.stores.embedded.moments import Moments
from vecsec_retrieval.stores.embedded.past_rows import rows_at
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, TOPIC, Record, RecordedCollection
from vecsec_retrieval.stores.embedded.segments import EmptySegments
from vecsec_retrieval.stores.folder.disk import StoreDisk
from vecsec_retrieval.stores.folder.open_files import FILES_OF_A_WRITE, FileRoom
from vecsec_retrieval.visibility.tagging import LABEL_KEY, caller_metadata, label_tags

log = structlog.get_logger()

_VECTORS_A_PAGE = 2_000
_ROWS_A_PAGE = 500
_FORGET_ABOVE = 1_000
"""So many replaced entries may lie in the log, or half as many as there are rows, until some are dropped."""
_FORGOTTEN_AT_ONCE = 1_000
_WORTH_IT, _GIVEN_BACK_AT_ONCE = 100, 10_000
"""Where room is short, already a hundredth of the entries is dropped; to find them, the whole index is read."""
_ROWS_OF_CHROMA = 1_000
"""More are written past it, in one transaction."""
_RETRY_SECONDS = 1.0
_ROUNDING_OF_LENGTHS = 1e-6


class EmbeddedCell:
    """See `vecsec_retrieval.model.store.Cell`."""

    def __init__(
        self,
        tenant_id: str,
        record: Record,
        open_chroma: Callable[[], ChromaCell],
        empty_segments: EmptySegments,
        translated: ErrorTranslation,
        *,
        moments: Moments,
        disk: StoreDisk,
        files: FileRoom,
        has_whole_rows: bool,
        on_close: Callable[[bool], None],
    ) -> None:
        """Take over an open record, whose rows are known to be whole, or have to be looked at; ChromaDB is opened when
        it is first needed. `on_close` is called at the end, and told whether they are known to be whole by then."""
        self._whole_rows = WholeRows(has_whole_rows)
        self._on_close = on_close
        self._tenant_id = tenant_id
        self._record = record
        self._open_chroma = open_chroma
        self._empty_segments = empty_segments
        self._chroma: ChromaCell | None = None
        self._translated = translated
        self._moments = moments
        self._disk = disk
        self._files = files
        self._collections: dict[str, RecordedCollection] = {}
        self._entries: int | None = None
        self._replaced_entries: int | None = None
        self._turn = threading.RLock()
        """Held while ChromaDB or the record is used: their two SQLites do not see each other's locks. ChromaDB writes
        nothing more once a call of it has returned."""

    @property
    def tenant_id(self) -> str:
        return self._tenant_id

    @property
    def log(self) -> EmbeddedChangeLog:
        return EmbeddedChangeLog(self._record.database.parent, self._reading, self._topic, self._whole_rows)

    def collections(self) -> list[CollectionInfo]:
        with self._reading() as record:
            return [collection.info for collection in record.collections()]

    def find_collection(self, collection_id: str) -> CollectionInfo | None:
        with self._reading():
            found = self._find(collection_id)
            return None if found is None else found.info

    def create_collection(self, info: CollectionInfo) -> CollectionInfo:
        with self._turn:
            self._require(self._disk.require_room)
            made = self._awake().create_collection(info)
            with self._translated():
                self._empty_segments.lay_out()
                self._sync_folder()
            return made

    def upsert(self, collection_id: str, rows: Sequence[StoredRow], deleted: Sequence[str] = ()) -> int:
        with self._turn:
            self._require(lambda: self._disk.require_room_for(rows))
            replaced = self._entries_of(collection_id, [row.document_id for row in rows])
            gone = self._entries_of(collection_id, deleted)
            if deleted:
                with self._reading() as record:
                    replace_rows(record, self._topic(collection_id), rows, deleted)
            else:
                self._awake().upsert(collection_id, [sealed(row) for row in rows])
            self._sync_folder()
            self._forget(len(rows) + len(deleted), replaced + 2 * gone)
            return self.log.position()

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> int:
        with self._turn:
            self._require(lambda: self._disk.require_room_to_delete(len(document_ids)))
            deleted = self._entries_of(collection_id, document_ids)
            if len(document_ids) <= _ROWS_OF_CHROMA:
                self._awake().delete(collection_id, document_ids)
            else:
                with self._reading() as record:
                    delete_rows(record, self._topic(collection_id), document_ids)
            self._sync_folder()
            self._forget(len(document_ids), 2 * deleted)
            return self.log.position()

    def relabel(self, collection_id: str, relabelled: Sequence[tuple[str, Label]]) -> int:
        with self._turn:
            with self._reading() as record:
                bytes_a_row = record.used_bytes() // max(1, record.entries())
            self._require(lambda: self._disk.require_room(2 * bytes_a_row * len(relabelled)))
            tags_of = {label: label_tags(label) for label in {label for _, label in relabelled}}
            with self._reading() as record:
                topic = self._topic(collection_id)
                written = relabel_rows(record, topic, {each: tags_of[label] for each, label in relabelled})
            self._sync_folder()
            self._forget(written, written)
            return self.log.position()

    def drop_collections(self, collection_ids: Sequence[str]) -> None:
        with self._turn:
            self._require(self._disk.require_room_to_delete)
            self._let_chroma_go()
            with self._reading() as record:
                found = [each for each in record.collections() if each.info.collection_id in collection_ids]
                topics = {each.topic.removeprefix(TOPIC): each.topic for each in found}
                # An export that goes on would lack them without a word.
                self._moments.forget(self._tenant_id)
                drop_collections(record, topics)
            self._collections.clear()
            self._entries = self._replaced_entries = None
            self._sync_folder()
            for key in topics:
                for file in self._record.database.parent.glob(f"{key}-*"):
                    file.unlink(missing_ok=True)

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        with self._reading() as record:
            positions = record.positions(self._topic(collection_id), document_ids)
            rows = record.rows(positions.values(), with_embeddings=with_embeddings)
        found = {row.document_id: row for row in rows.values()}
        return [found[document_id] for document_id in document_ids if document_id in found]

    def hold_moment(self) -> str:
        with self._reading() as record:
            return self._moments.hold(self._tenant_id, record.position())

    def rows_at(self, moment: str, collection_id: str, wanted: RowsWanted) -> RowPage:
        with self._reading() as record:
            position, topic = self._moments.position(self._tenant_id, moment), self._topic(collection_id)
            return rows_at(record, topic, position, wanted)

    def find_ids(self, collection_id: str, condition: RowCondition, limit: int | None = None) -> list[str]:
        with self._reading() as record:
            positions = record.positions(self._topic(collection_id))
        if condition.label_keys is None and condition.metadata is None:
            return list(positions)[:limit]
        # Not in ChromaDB's tables, which nothing compares with the log: each row is read, and checked.
        found: list[str] = []
        for page in _pages(positions.values(), _ROWS_A_PAGE):
            if limit is not None and len(found) >= limit:
                break
            with self._reading() as record:
                rows = record.rows(page, with_embeddings=False)
            found += [row.document_id for row in rows.values() if _matches(row, condition)]
        return found[:limit]

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        ids = condition.document_ids
        if ids is None and (condition.label_keys is not None or condition.metadata is not None):
            ids = tuple(self.find_ids(collection_id, condition))
        with self._reading() as record:
            found_at = record.positions(self._topic(collection_id), ids)
        positions, ids_at = sorted(found_at.values()), {position: each for each, position in found_at.items()}
        query = _of_length_one(vector)
        best: list[tuple[float, str, int]] = []
        for start in range(0, len(positions), _VECTORS_A_PAGE):
            with self._reading() as record:
                found, vectors = record.vectors(positions[start : start + _VECTORS_A_PAGE])
            if not found:
                continue  # dropped meanwhile
            # As in memory, and equal ones by their ids: whether rows are there may be due to hidden ones.
            negative = -cosines(dot_products(normalised(vectors), query))
            scored = zip(negative.tolist(), (ids_at[each] for each in found), found, strict=True)
            best = heapq.nsmallest(count, chain(best, scored))
        with self._reading() as record:
            rows = record.rows((position for *_, position in best), with_embeddings=False)
        return [
            Neighbour(rows[position], 1.0 + negative, -negative) for negative, _, position in best if position in rows
        ]

    def row_count(self) -> int:
        with self._reading() as record:
            callers = [each for each in record.collections() if is_collection_id(each.info.collection_id)]
            return sum(record.living_count(collection.topic) for collection in callers)

    def disk_bytes(self) -> int:
        with self._reading() as record:
            used = record.used_bytes()
            beside = (each for each in record.database.parent.rglob("*") if not each.name.startswith(DATABASE_FILE))
            return used + sum(each.stat().st_size for each in beside if each.is_file())

    def give_room_back(self) -> None:
        with self._turn:
            self._forget(0, 0, above=lambda entries: entries // _WORTH_IT, most=_GIVEN_BACK_AT_ONCE)

    def close(self) -> None:
        with self._turn:
            try:
                self._let_chroma_go()
            finally:
                self._record.close()
            self._on_close(self._whole_rows.are_known)

    def _let_chroma_go(self) -> None:
        if self._chroma is not None:
            self._chroma.close()
            self._chroma = None
            self._empty_segments.remove()

    @contextmanager
    def _reading(self) -> Iterator[Record]:
        with self._turn, self._translated():
            yield self._record

    def _awake(self) -> ChromaCell:
        if self._chroma is None:
            with self._translated():
                self._empty_segments.lay_out()
            self._empty_tables()
            self._chroma = self._open_chroma()
        return self._chroma

    def _sync_folder(self) -> None:
        """Have the end of the journal on the disk, too: where it is there again after a power cut, SQLite takes back
        what it committed last.

        Raises:
            RetrievalUnavailable: if that fails. The write is in the log, and perhaps not for long: written again, it is
                the same.
        """
        try:
            sync_folder(self._record.database.parent)
        except OSError as error:
            raise RetrievalUnavailable(
                "the disk did not say that the write will last; try again",
                detail=f"{self._record.database.parent}: {error.strerror}",
                retry_after=_RETRY_SECONDS,
            ) from error

    def _empty_tables(self) -> None:
        """Take away what ChromaDB's tables hold; where there is no room for that, what makes room goes on."""
        try:
            self._record.empty_tables()
        except sqlite3.OperationalError as error:
            log.warning("ChromaDB's tables keep their rows for now", tenant_id=self._tenant_id, detail=str(error))

    def _require(self, room: Callable[[], None]) -> None:
        with self._translated():
            room()
            with self._files.promised(FILES_OF_A_WRITE):
                """They are there."""

    def _topic(self, collection_id: str) -> str:
        found = self._find(collection_id)
        if found is None:
            raise RetrievalUnavailable("the collection is gone; try again", retry_after=1.0)
        return found.topic

    def _find(self, collection_id: str) -> RecordedCollection | None:
        if collection_id not in self._collections:
            self._collections = {each.info.collection_id: each for each in self._record.collections()}
        return self._collections.get(collection_id)

    def _entries_of(self, collection_id: str, document_ids: Sequence[str]) -> int:
        """How many of these are in the log already."""
        with self._reading() as record:
            return len(record.positions(self._topic(collection_id), document_ids))

    def _forget(
        self,
        written: int,
        replaced: int,
        *,
        above: Callable[[int], int] = lambda entries: max(_FORGET_ABOVE, entries // 3),
        most: int = _FORGOTTEN_AT_ONCE,
    ) -> None:
        """Give back the room of replaced rows, where it is much; a write that is acknowledged does not fail by it."""
        try:
            if self._entries is None or self._replaced_entries is None:  # counted once: that reads the whole index
                self._entries, self._replaced_entries = self._record.entries(), self._record.replaced_entries()
            else:
                self._entries += written
                self._replaced_entries += replaced
            is_held = self._moments.are_held(self._tenant_id)  # an export reads what was replaced since it began
            if not is_held and self._replaced_entries > above(self._entries):
                forgotten = self._record.forget_replaced(most)
                self._entries -= forgotten
                # Where nothing may be forgotten yet, it is not tried again with each write.
                self._replaced_entries = self._replaced_entries - forgotten if forgotten else 0
        except sqlite3.Error as error:
            log.warning("replaced rows keep their room for now", tenant_id=self._tenant_id, detail=str(error))


def _matches(row: StoredRow, condition: RowCondition) -> bool:
    lies = condition.label_keys is None or row.metadata.get(LABEL_KEY) in condition.label_keys
    if not lies or condition.metadata is None:
        return lies
    return predicate(condition.metadata)(caller_metadata(row.metadata), lambda: row.text)


def _of_length_one(vector: Vector) -> Vector:
    """As it is where it has been scaled already: to do it again would change its last bits."""
    exact = vector.astype(np.float64)
    return vector if abs(exact.dot(exact) - 1.0) < _ROUNDING_OF_LENGTHS else direction(vector)


def _pages(values: Iterable[int], count: int) -> Iterator[list[int]]:
    """So many at a time."""
    rest = iter(values)
    while page := list(islice(rest, count)):
        yield page
