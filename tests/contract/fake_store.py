"""A store of cells in memory: small enough to be right at a glance. It must answer as the real stores do."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.model.filters import predicate
from vecsec_retrieval.model.rows import CollectionInfo, Neighbour, StoredRow, Vector
from vecsec_retrieval.model.store import Change, RowCondition, RowPage, RowsWanted, SnapshotName, moment_not_held
from vecsec_retrieval.visibility.tagging import LABEL_KEY, caller_metadata, from_stored, label_tags

BeforeCall = Callable[[str], None]
"""Is called with the operation's name before each operation, in its thread; may wait or raise."""


@dataclass
class FakeLog:
    """See `vecsec_retrieval.model.store.ChangeLog`."""

    before: BeforeCall
    snapshot_folder: Path
    entries: list[tuple[str, Change]] = field(default_factory=list)
    """Each with its collection."""
    names: dict[str, SnapshotName] = field(default_factory=dict)

    is_looked_through = True

    def look_through(self, *, after: int, count: int) -> int | None:
        return None

    def position(self) -> int:
        return len(self.entries)

    def collection_key(self, collection_id: str) -> str:
        return collection_id

    def changes(self, collection_id: str, *, after: int, limit: int) -> list[Change]:
        self.before("changes")
        found = [change for of, change in self.entries[after:] if of == collection_id][:limit]
        self.before("answer of changes")
        return found

    def living(self, collection_id: str) -> NDArray[np.int64]:
        self.before("living")
        latest = {change.document_id: change for of, change in self.entries if of == collection_id}
        in_order = sorted(latest.values(), key=lambda change: change.document_id.encode())
        return np.array([change.position for change in in_order if change.row is not None], dtype=np.int64)

    def rows_at(self, positions: Sequence[int]) -> list[StoredRow]:
        self.before("rows_at")
        rows = [self.entries[position - 1][1].row for position in positions]
        return [row for row in rows if row is not None]

    def snapshot(self, collection_id: str) -> SnapshotName | None:
        self.before("snapshot")
        return self.names.get(collection_id)

    def name_snapshot(self, collection_id: str, name: SnapshotName | None) -> bool:
        self.before("name_snapshot")
        known = self.names.get(collection_id)
        if name is None:
            self.names.pop(collection_id, None)
        elif known is None or name.position >= known.position:
            self.names[collection_id] = name
        for file in self.snapshot_folder.glob(f"{collection_id}-*"):
            if collection_id not in self.names or file.name != self.names[collection_id].file_name:
                file.unlink()
        return self.names.get(collection_id) == name

    def add(self, collection_id: str, document_id: str, row: StoredRow | None) -> None:
        self.entries.append((collection_id, Change(len(self.entries) + 1, document_id, row)))


@dataclass
class FakeCell:
    """See `vecsec_retrieval.model.store.Cell`."""

    tenant_id: str
    before: BeforeCall
    infos: dict[str, CollectionInfo] = field(default_factory=dict)
    rows: dict[str, dict[str, StoredRow]] = field(default_factory=dict)
    moments: dict[str, dict[str, dict[str, StoredRow]]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    is_open: bool = True
    log: FakeLog | None = None

    def collections(self) -> list[CollectionInfo]:
        self.before("collections")
        return list(self.infos.values())

    def find_collection(self, collection_id: str) -> CollectionInfo | None:
        self.before("find_collection")
        return self.infos.get(collection_id)

    def create_collection(self, info: CollectionInfo) -> CollectionInfo:
        self.before("create_collection")
        self.rows.setdefault(info.collection_id, {})
        return self.infos.setdefault(info.collection_id, info)

    def upsert(self, collection_id: str, rows: Sequence[StoredRow], deleted: Sequence[str] = ()) -> int:
        self.before("upsert")
        with self.lock:
            stored = self._rows(collection_id)
            for row in rows:
                assert row.embedding is not None
                known = stored[row.document_id].metadata if row.document_id in stored else {}
                merged = {key: value for key, value in {**known, **row.metadata}.items() if value is not None}
                stored[row.document_id] = replace(row, metadata=merged)
                if self.log is not None:
                    self.log.add(collection_id, row.document_id, stored[row.document_id])
            for document_id in deleted:
                is_there = stored.pop(document_id, None) is not None
                if self.log is not None and is_there:
                    self.log.add(collection_id, document_id, None)
            return 0 if self.log is None else self.log.position()

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> int:
        self.before("delete")
        with self.lock:
            for document_id in document_ids:
                is_there = self._rows(collection_id).pop(document_id, None) is not None
                if self.log is not None and is_there:
                    self.log.add(collection_id, document_id, None)
            return 0 if self.log is None else self.log.position()

    def relabel(self, collection_id: str, relabelled: Sequence[tuple[str, Label]]) -> int:
        self.before("relabel")
        with self.lock:
            stored = self._rows(collection_id)
            for document_id, label in relabelled:
                row = stored.get(document_id)
                if row is not None and from_stored(row, self.tenant_id) is not None:
                    stored[document_id] = replace(row, metadata={**row.metadata, **label_tags(label)})
                    if self.log is not None:
                        self.log.add(collection_id, document_id, stored[document_id])
            return 0 if self.log is None else self.log.position()

    def drop_collections(self, collection_ids: Sequence[str]) -> None:
        self.before("drop_collections")
        with self.lock:
            for collection_id in collection_ids if self.log is not None else ():
                self.infos.pop(collection_id, None)
                self.rows.pop(collection_id, None)

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        self.before("get")
        with self.lock:
            stored = self._rows(collection_id)
            found = [stored[document_id] for document_id in document_ids if document_id in stored]
        return found if with_embeddings else [replace(row, embedding=None) for row in found]

    def row_count(self) -> int:
        self.before("row_count")
        with self.lock:
            return sum(len(rows) for name, rows in self.rows.items() if is_collection_id(name))

    def disk_bytes(self) -> None:
        """There is none."""

    def give_room_back(self) -> None:
        """Nothing is kept."""

    def hold_moment(self) -> str:
        self.before("hold_moment")
        with self.lock:
            name = f"moment {len(self.moments)}"
            self.moments[name] = {collection_id: dict(rows) for collection_id, rows in self.rows.items()}
        return name

    def rows_at(self, moment: str, collection_id: str, wanted: RowsWanted) -> RowPage:
        self.before("rows_at")
        if moment not in self.moments:
            raise moment_not_held()
        rows = self.moments[moment].get(collection_id, {})
        ids = sorted(
            document_id
            for document_id, row in rows.items()
            if document_id > wanted.after_id and row.metadata.get(LABEL_KEY) in wanted.label_keys
        )
        page = ids[: wanted.count]
        return RowPage([rows[each] for each in page], page[-1] if len(ids) > len(page) else "")

    def find_ids(self, collection_id: str, condition: RowCondition, limit: int | None = None) -> list[str]:
        self.before("find_ids")
        with self.lock:
            return [row.document_id for row in self._matching(collection_id, condition)][:limit]

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        self.before("nearest")
        with self.lock:
            neighbours = [
                Neighbour(replace(row, embedding=None), _distance(row, vector))
                for row in self._matching(collection_id, condition)
            ]
        return sorted(neighbours, key=lambda neighbour: neighbour.distance)[:count]

    def close(self) -> None:
        self.before("close")
        self.is_open = False

    def _rows(self, collection_id: str) -> dict[str, StoredRow]:
        try:
            return self.rows[collection_id]
        except KeyError as error:
            raise RetrievalUnavailable("the collection changed while it was being used; try again") from error

    def _matching(self, collection_id: str, condition: RowCondition) -> Iterator[StoredRow]:
        holds = predicate(condition.metadata) if condition.metadata is not None else lambda _metadata, _text: True
        for row in self._rows(collection_id).values():
            if condition.document_ids is not None and row.document_id not in condition.document_ids:
                continue
            tagged = condition.label_keys is None or row.metadata.get(LABEL_KEY) in condition.label_keys
            if tagged and holds(caller_metadata(row.metadata), partial(getattr, row, "text")):
                yield row


class FakeCellStore:
    """See `vecsec_retrieval.model.store.CellStore`."""

    kind = "fake"
    location = "memory"

    def __init__(self, *, has_other_writers: bool = False) -> None:
        self.has_other_writers = has_other_writers
        self.before: BeforeCall = lambda _operation: None
        self.cells: dict[str, FakeCell] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="vecsec-fake-")
        self.refuses: str | None = None

    def open(self, tenant_id: str, *, create: bool) -> FakeCell | None:
        self.before("open")
        if tenant_id not in self.cells and not create:
            return None
        known = self.cells.get(tenant_id)
        cell = FakeCell(tenant_id, self._before)
        if not self.has_other_writers:
            folder = Path(self.folder.name) / tenant_id
            folder.mkdir(exist_ok=True)
            cell.log = FakeLog(self._before, folder)
        if known is not None:
            cell.infos, cell.rows, cell.moments, cell.log = known.infos, known.rows, known.moments, known.log
        self.cells[tenant_id] = cell
        return cell

    def heartbeat(self) -> None:
        self.before("heartbeat")

    def refusal(self) -> str | None:
        return self.refuses

    def close(self) -> None:
        """Nothing is shared."""

    def _before(self, operation: str) -> None:
        self.before(operation)


def _distance(row: StoredRow, vector: Vector) -> float:
    assert row.embedding is not None
    lengths = float(np.linalg.norm(row.embedding) * np.linalg.norm(vector))
    return 1.0 - float(row.embedding @ vector) / lengths
