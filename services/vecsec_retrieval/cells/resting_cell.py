"""A cell whose side of the store is open while it is used, and can be let go in between.

What an open Chroma takes, some MiB, a dozen files and a thread, is nothing that a collection in memory needs to be
searched: so far more tenants are kept in memory than could be kept open.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.model.rows import CollectionInfo, Neighbour, StoredRow, Vector
from vecsec_retrieval.model.store import Cell, Change, ChangeLog, RowCondition, RowPage, RowsWanted, SnapshotName

_RETRY_SECONDS = 1.0
_CLOSING_SECONDS = 30.0
"""So long a cell that is to be closed is waited for; then it is left as it is, for its tenant to go on."""


class RestingCell:
    """See `vecsec_retrieval.model.store.Cell`; opened again by whatever needs the store."""

    def __init__(self, cell: Cell, reopen: Callable[[], Cell]) -> None:
        """Take over an open cell; `reopen` opens it anew and is called in worker threads."""
        self._tenant_id = cell.tenant_id
        self._reopen = reopen
        self._cell: Cell | None = cell
        self._has_log = cell.log is not None
        self._users = 0
        self._is_closed = False
        self.used_at = time.monotonic()
        """When the store's side was last asked for anything."""
        self._lock = threading.Condition()
        """Held while the cell is opened or let go: a directory is not open twice, unless a call in
        the store never ends. Notified when nobody uses it."""

    @property
    def tenant_id(self) -> str:
        return self._tenant_id

    @property
    def is_awake(self) -> bool:
        """Whether the store's side is open."""
        return self._cell is not None

    @property
    def log(self) -> ChangeLog | None:
        return _RestingLog(self._awake_log) if self._has_log else None

    def rest(self) -> None:
        """Let go of the store's side, unless a call is using it; blocks."""
        with self._lock:
            if self._cell is not None and not self._users:
                cell, self._cell = self._cell, None
                cell.close()

    def collections(self) -> list[CollectionInfo]:
        with self._awake() as cell:
            return cell.collections()

    def find_collection(self, collection_id: str) -> CollectionInfo | None:
        with self._awake() as cell:
            return cell.find_collection(collection_id)

    def create_collection(self, info: CollectionInfo) -> CollectionInfo:
        with self._awake() as cell:
            return cell.create_collection(info)

    def upsert(self, collection_id: str, rows: Sequence[StoredRow], deleted: Sequence[str] = ()) -> int:
        with self._awake() as cell:
            return cell.upsert(collection_id, rows, deleted)

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> int:
        with self._awake() as cell:
            return cell.delete(collection_id, document_ids)

    def relabel(self, collection_id: str, relabelled: Sequence[tuple[str, Label]]) -> int:
        with self._awake() as cell:
            return cell.relabel(collection_id, relabelled)

    def drop_collections(self, collection_ids: Sequence[str]) -> None:
        with self._awake() as cell:
            cell.drop_collections(collection_ids)

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        with self._awake() as cell:
            return cell.get(collection_id, document_ids, with_embeddings=with_embeddings)

    def hold_moment(self) -> str:
        with self._awake() as cell:
            return cell.hold_moment()

    def rows_at(self, moment: str, collection_id: str, wanted: RowsWanted) -> RowPage:
        with self._awake() as cell:
            return cell.rows_at(moment, collection_id, wanted)

    def find_ids(self, collection_id: str, condition: RowCondition, limit: int | None = None) -> list[str]:
        with self._awake() as cell:
            return cell.find_ids(collection_id, condition, limit)

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        with self._awake() as cell:
            return cell.nearest(collection_id, vector, count, condition)

    def row_count(self) -> int:
        with self._awake() as cell:
            return cell.row_count()

    def disk_bytes(self) -> int | None:
        with self._awake() as cell:
            return cell.disk_bytes()

    def give_room_back(self) -> None:
        with self._awake() as cell:
            cell.give_room_back()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            # A read that its call has given up may still go on.
            if not self._lock.wait_for(lambda: not self._users, _CLOSING_SECONDS):
                raise RetrievalUnavailable(
                    "the tenant's store is busy", detail=f"a call in it did not end within {_CLOSING_SECONDS:g} s"
                )
            cell, self._cell = self._cell, None
            if cell is not None:
                cell.close()

    @contextmanager
    def _awake_log(self) -> Iterator[ChangeLog]:
        with self._awake() as cell:
            assert cell.log is not None
            yield cell.log

    @contextmanager
    def _awake(self) -> Iterator[Cell]:
        with self._lock:
            if self._is_closed:
                raise RetrievalUnavailable("the tenant's store is being closed; try again", retry_after=_RETRY_SECONDS)
            if self._cell is None:
                self._cell = self._reopen()
            cell = self._cell
            self._users += 1
        try:
            yield cell
        finally:
            with self._lock:
                self._users -= 1
                self.used_at = time.monotonic()
                if not self._users:
                    self._lock.notify_all()


class _RestingLog:
    """See `vecsec_retrieval.model.store.ChangeLog`."""

    def __init__(self, awake: Callable[[], AbstractContextManager[ChangeLog]]) -> None:
        self._awake = awake

    @property
    def snapshot_folder(self) -> Path:
        with self._awake() as log:
            return log.snapshot_folder

    @property
    def is_looked_through(self) -> bool:
        with self._awake() as log:
            return log.is_looked_through

    def look_through(self, *, after: int, count: int) -> int | None:
        with self._awake() as log:
            return log.look_through(after=after, count=count)

    def position(self) -> int:
        with self._awake() as log:
            return log.position()

    def collection_key(self, collection_id: str) -> str:
        with self._awake() as log:
            return log.collection_key(collection_id)

    def changes(self, collection_id: str, *, after: int, limit: int) -> list[Change]:
        with self._awake() as log:
            return log.changes(collection_id, after=after, limit=limit)

    def living(self, collection_id: str) -> NDArray[np.int64]:
        with self._awake() as log:
            return log.living(collection_id)

    def rows_at(self, positions: Sequence[int]) -> list[StoredRow]:
        with self._awake() as log:
            return log.rows_at(positions)

    def snapshot(self, collection_id: str) -> SnapshotName | None:
        with self._awake() as log:
            return log.snapshot(collection_id)

    def name_snapshot(self, collection_id: str, name: SnapshotName | None) -> bool:
        with self._awake() as log:
            return log.name_snapshot(collection_id, name)
