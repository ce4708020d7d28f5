"""The snapshots of one collection: opens the one that fits the log, and makes another. Every method blocks."""

import threading
from dataclasses import replace
from pathlib import Path

import structlog

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.memory.index_moment import IndexMoment
from vecsec_retrieval.memory.snapshot_format import SnapshotSource
from vecsec_retrieval.memory.snapshot_making import SnapshotOfLog, write_moment
from vecsec_retrieval.memory.snapshot_rows import OutdatedSnapshot, SnapshotRows, TornSnapshot
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo
from vecsec_retrieval.model.store import SNAPSHOT_SUFFIX, ChangeLog, SnapshotName

log = structlog.get_logger()

_ROWS_A_PAGE = 1_000
_WORTH_MOVING_ON = 1_000


class CollectionSnapshots:
    """The log names the snapshot that fits it; each has a name of its own, so that what is open stays as it is."""

    def __init__(
        self,
        change_log: ChangeLog,
        tenant_id: str,
        info: CollectionInfo,
        metrics: RetrievalMetrics,
        *,
        mapped_from_bytes: int,
    ) -> None:
        """Files from this size on are mapped into memory; smaller ones are read."""
        self._mapped_from_bytes = mapped_from_bytes
        self._log = change_log
        self._tenant_id = tenant_id
        self._info = info
        self._metrics = metrics
        self._names = {"tenant_id": tenant_id, "collection_id": info.collection_id}
        self.is_torn = False
        """Whether a row of the snapshot turned out not to be what was written: it is made again."""

    def index(self) -> CollectionIndex:
        """An index of the snapshot's rows; an empty one where none fits: it is made of the log then.

        Raises:
            VecSecError: what the log raises.
        """
        name = self._log.snapshot(self._info.collection_id)
        if name is None:
            return CollectionIndex(self._info.dimensions)
        path = self._log.snapshot_folder / name.file_name
        if self.is_torn:
            self._give_up(f"{path}: a row is not what was written")
            return CollectionIndex(self._info.dimensions)
        try:
            rows = SnapshotRows(path, self._source(), name.checksum, self._mapped_from_bytes)
        except OutdatedSnapshot:
            log.info("a snapshot of another version is made again", **self._names)
            self._log.name_snapshot(self._info.collection_id, None)
            return CollectionIndex(self._info.dimensions)
        except (TornSnapshot, OSError) as error:
            self._give_up(str(error.detail if isinstance(error, TornSnapshot) else error))
            return CollectionIndex(self._info.dimensions)
        return CollectionIndex(self._info.dimensions, rows, name.position)

    def of_moment(self, moment: IndexMoment, position: int, untagged_ids: frozenset[str]) -> CollectionIndex:
        """Make a snapshot of what was in memory when the log was at this position; an index of it.

        Raises:
            OSError: if there is no room.
            VecSecError: TornSnapshot where the one before is torn, and what the log raises.
        """
        path = self._path(position)
        return self._named(path, position, write_moment(path, self._source(), moment, untagged_ids))

    def of_log(self, is_given_up: threading.Event) -> CollectionIndex:
        """Make a snapshot of all that the log holds; an index of it. Raises what `of_moment` does."""
        position = self._log.position()
        positions = self._log.living(self._info.collection_id).tolist()
        path = self._path(position)
        with SnapshotOfLog(path, self._source(), len(positions)) as snapshot:
            for start in range(0, len(positions), _ROWS_A_PAGE):
                if is_given_up.is_set():
                    raise RetrievalUnavailable("the collection is being closed; try again")
                snapshot.add(self._log.rows_at(positions[start : start + _ROWS_A_PAGE]))
            return self._named(path, position, snapshot.finish())

    def move_on(self, position: int) -> None:
        """The snapshot that there is holds everything up to this position: others' rows need not be passed over."""
        name = self._log.snapshot(self._info.collection_id)
        if name is not None and position - name.position > _WORTH_MOVING_ON:
            self._log.name_snapshot(self._info.collection_id, replace(name, position=position))

    def _named(self, path: Path, position: int, checksum: int) -> CollectionIndex:
        rows = SnapshotRows(path, self._source(), checksum, self._mapped_from_bytes)
        if not self._log.name_snapshot(self._info.collection_id, SnapshotName(path.name, checksum, position)):
            raise RetrievalUnavailable("the collection changed while it was being read; try again")
        self._metrics.count_snapshot("made")
        return CollectionIndex(self._info.dimensions, rows, position)

    def _give_up(self, reason: str) -> None:
        """Use the snapshot that there is no more."""
        log.warning("a snapshot is made again from the log", **self._names, reason=reason)
        self._metrics.count_snapshot("torn")
        self.is_torn = False
        self._log.name_snapshot(self._info.collection_id, None)

    def _path(self, position: int) -> Path:
        key = self._log.collection_key(self._info.collection_id)
        return self._log.snapshot_folder / f"{key}-{position}{SNAPSHOT_SUFFIX}"

    def _source(self) -> SnapshotSource:
        key = self._log.collection_key(self._info.collection_id)
        return SnapshotSource(self._tenant_id, key, self._info.dimensions)
