"""A store of cells in memory: small enough to be right at a glance. It must answer as the real stores do."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.model.filters import predicate
from vecsec_retrieval.model.rows import CollectionInfo, Neighbour, StoredRow, Vector
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.visibility.tagging import LABEL_KEY, caller_metadata

BeforeCall = Callable[[str], None]
"""Is called with the operation's name before each operation, in its thread; may wait or raise."""


@dataclass
class FakeCell:
    """See `vecsec_retrieval.model.store.Cell`."""

    tenant_id: str
    before: BeforeCall
    infos: dict[str, CollectionInfo] = field(default_factory=dict)
    rows: dict[str, dict[str, StoredRow]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    is_open: bool = True

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

    def upsert(self, collection_id: str, rows: Sequence[StoredRow]) -> None:
        self.before("upsert")
        with self.lock:
            stored = self._rows(collection_id)
            for row in rows:
                assert row.embedding is not None
                known = stored[row.document_id].metadata if row.document_id in stored else {}
                merged = {key: value for key, value in {**known, **row.metadata}.items() if value is not None}
                stored[row.document_id] = replace(row, metadata=merged)

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> None:
        self.before("delete")
        with self.lock:
            for document_id in document_ids:
                self._rows(collection_id).pop(document_id, None)

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        self.before("get")
        with self.lock:
            stored = self._rows(collection_id)
            found = [stored[document_id] for document_id in document_ids if document_id in stored]
        return found if with_embeddings else [replace(row, embedding=None) for row in found]

    def head(self, collection_id: str, count: int) -> list[StoredRow]:
        self.before("head")
        with self.lock:
            rows = list(self._rows(collection_id).values())[:count]
        self.before("answer of head")
        return rows

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
        holds = predicate(condition.metadata) if condition.metadata is not None else lambda _metadata: True
        for row in self._rows(collection_id).values():
            if condition.document_ids is not None and row.document_id not in condition.document_ids:
                continue
            tagged = condition.label_keys is None or row.metadata.get(LABEL_KEY) in condition.label_keys
            if tagged and holds(caller_metadata(row.metadata)):
                yield row


class FakeCellStore:
    """See `vecsec_retrieval.model.store.CellStore`."""

    kind = "fake"
    location = "memory"

    def __init__(self, *, has_other_writers: bool = False) -> None:
        self.has_other_writers = has_other_writers
        self.before: BeforeCall = lambda _operation: None
        self.cells: dict[str, FakeCell] = {}
        self.refuses: str | None = None

    def open(self, tenant_id: str, *, create: bool) -> FakeCell | None:
        self.before("open")
        if tenant_id not in self.cells and not create:
            return None
        known = self.cells.get(tenant_id)
        cell = FakeCell(tenant_id, self._before)
        if known is not None:
            cell.infos, cell.rows = known.infos, known.rows
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
