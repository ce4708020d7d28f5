"""What was written to an embedded cell, in order, for who takes its collections into memory."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.model.store import Change, SnapshotName
from vecsec_retrieval.stores.embedded.record import TOPIC, Record


@dataclass
class WholeRows:
    """What is known of a cell's rows."""

    are_known: bool
    """Whether all were looked at since the file was changed by anybody else."""


class EmbeddedChangeLog:
    """See `vecsec_retrieval.model.store.ChangeLog`."""

    def __init__(
        self,
        folder: Path,
        reading: Callable[[], AbstractContextManager[Record]],
        topic: Callable[[str], str],
        whole_rows: WholeRows,
    ) -> None:
        """`reading` gives the cell's record while nobody else uses it, and `topic` its name of a collection."""
        self._folder = folder
        self._reading = reading
        self._topic = topic
        self._whole_rows = whole_rows

    @property
    def snapshot_folder(self) -> Path:
        return self._folder

    @property
    def is_looked_through(self) -> bool:
        return self._whole_rows.are_known

    def look_through(self, *, after: int, count: int) -> int | None:
        with self._reading() as record:
            reached = record.check_rows(after, count)
        if reached is None:
            self._whole_rows.are_known = True
        return reached

    def position(self) -> int:
        with self._reading() as record:
            return record.position()

    def collection_key(self, collection_id: str) -> str:
        with self._reading():
            return self._topic(collection_id).removeprefix(TOPIC)

    def changes(self, collection_id: str, *, after: int, limit: int) -> list[Change]:
        with self._reading() as record:
            return record.changes(self._topic(collection_id), after=after, limit=limit)

    def living(self, collection_id: str) -> NDArray[np.int64]:
        with self._reading() as record:
            return record.living(self._topic(collection_id))

    def rows_at(self, positions: Sequence[int]) -> list[StoredRow]:
        with self._reading() as record:
            rows = record.rows(positions, with_embeddings=True)
        return [rows[position] for position in positions if position in rows]

    def snapshot(self, collection_id: str) -> SnapshotName | None:
        with self._reading() as record:
            return record.snapshots.find(self._topic(collection_id), record.position())

    def name_snapshot(self, collection_id: str, name: SnapshotName | None) -> bool:
        with self._reading() as record:
            with record.transaction():
                is_named = record.snapshots.put(self._topic(collection_id), name)
            found = record.snapshots.find(self._topic(collection_id), record.position())
        for file in self._folder.glob(f"{self.collection_key(collection_id)}-*"):
            if found is None or file.name != found.file_name:
                with suppress(FileNotFoundError):
                    file.unlink()
        return is_named
