"""What retrieval asks of a vector store: a cell per tenant, and a store of cells.

All calls block and may be made from any thread; `store_threads.py` keeps them off the event loop. Implementations are
in `stores/`; one contract suite runs over all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.errors import InvalidRequest, LimitExceeded
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.model.rows import CollectionInfo, Neighbour, StoredRow, Vector


class WritesRefused(LimitExceeded):
    """The store takes no writes at present, and this one was not begun: no room on its disk, or that is read-only."""


@dataclass(frozen=True, slots=True)
class RowCondition:
    """Which rows to find. What a store finds by a metadata condition is judged again: stores count rows that lack a key
    as unequal to anything, for one."""

    label_keys: frozenset[str] | None = None
    """Rows tagged with one of these label keys; None does not look at the tag."""
    metadata: MetadataFilter | None = None
    """A condition on the callers' own metadata. A store finds every row that matches and, where its comparisons are
    coarser, perhaps some that do not."""
    document_ids: tuple[str, ...] | None = None
    """Rows among these alone, at most 10,000, and only where the nearest are asked for. If one of them is gone, perhaps
    nothing is found."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was written, or is gone."""

    position: int
    document_id: str
    row: StoredRow | None
    """With its embedding; None if it was deleted."""


SNAPSHOT_SUFFIX = ".rows"
UNFINISHED_SNAPSHOT = ".making-rows-"
"""How the names of snapshots begin that are being written, or were when a process ended."""


@dataclass(frozen=True, slots=True)
class SnapshotName:
    """What a cell's log says of a collection's snapshot."""

    file_name: str
    checksum: int
    """Of the file's table."""
    position: int
    """Of the log: the snapshot's rows are what everything up to there left."""


class ChangeLog(Protocol):
    """What was written to a cell, in order. Each write has a position of its own; later ones have higher ones.

    Every method raises what those of `Cell` raise.
    """

    @property
    def snapshot_folder(self) -> Path:
        """Where snapshots lie."""
        ...

    @property
    def is_looked_through(self) -> bool:
        """Whether all rows were looked at since somebody else may have changed them: snapshots hide what is torn."""
        ...

    def look_through(self, *, after: int, count: int) -> int | None:
        """Look at so many entries after this position; where they end, None if there are no more.

        Raises StoreDamaged if a row is not what was written.
        """
        ...

    def position(self) -> int:
        """Of the last write."""
        ...

    def collection_key(self, collection_id: str) -> str:
        """A name of the collection that no other ever has, of letters, digits and hyphens."""
        ...

    def changes(self, collection_id: str, *, after: int, limit: int) -> list[Change]:
        """The first of what was written to a collection after this position: at most `limit`, and fewer where they are
        large, but none only if there are no more; perhaps without what was replaced or deleted later."""
        ...

    def living(self, collection_id: str) -> NDArray[np.int64]:
        """The positions of all rows that are there, in the order of their ids."""
        ...

    def rows_at(self, positions: Sequence[int]) -> list[StoredRow]:
        """The rows with embeddings that were written at these positions, in their order; without what was replaced or
        deleted meanwhile."""
        ...

    def snapshot(self, collection_id: str) -> SnapshotName | None:
        """The snapshot that fits the log, if there is one."""
        ...

    def name_snapshot(self, collection_id: str, name: SnapshotName | None) -> bool:
        """From now on this is the one that fits; None: none does. Files of others are removed. False, and nothing is
        changed, if it is older than the one that fits, or than deletions that the log no longer knows of."""
        ...


@dataclass(frozen=True, slots=True)
class RowsWanted:
    """Which rows of a collection to read next."""

    label_keys: frozenset[str]
    """Rows tagged with one of these label keys."""
    after_id: str
    """Rows with greater ids than this one."""
    count: int
    """So many rows at most."""


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some rows of a collection by id."""

    rows: list[StoredRow]
    """May be fewer than wanted though there are more."""
    next_after_id: str
    """Behind which id to go on; empty if there are no more. No row that was wanted need have it."""


class Cell(Protocol):
    """One tenant's part of the store; a collection of one cell means nothing in another.

    Every method raises StoreDamaged if the cell cannot be read, RetrievalUnavailable if the store does not answer and
    LimitExceeded if there is no room: WritesRefused if that was seen before anything was written.
    """

    @property
    def tenant_id(self) -> str:
        """Whose cell this is."""
        ...

    def collections(self) -> list[CollectionInfo]:
        """All collections that VecSec made here."""
        ...

    def find_collection(self, collection_id: str) -> CollectionInfo | None:
        """The collection, or None if VecSec has made none of this id."""
        ...

    def create_collection(self, info: CollectionInfo) -> CollectionInfo:
        """Make a collection that compares by cosine; one that is already there is returned as it is."""
        ...

    @property
    def log(self) -> ChangeLog | None:
        """What was written here; None where others may write, too."""
        ...

    def upsert(self, collection_id: str, rows: Sequence[StoredRow], deleted: Sequence[str] = ()) -> int:
        """Store rows with embeddings, at most 1,000, replacing those of the same id, and remove others, however many:
        in one step where there is a log, and else first the one, then the other. Durable on return. Returns the log's
        position after it, and 0 where there is none."""
        ...

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> int:
        """Remove rows, however many, in one step where there is a log; ids that are not there are ignored. Returns what
        `upsert` does."""
        ...

    def relabel(self, collection_id: str, relabelled: Sequence[tuple[str, Label]]) -> int:
        """Give rows, however many, these labels, in one step where there is a log: all else of them stays. Rows that
        are not there are ignored; of the others the tags are whole. Returns what `upsert` does."""
        ...

    def drop_collections(self, collection_ids: Sequence[str]) -> None:
        """Forget collections with all that they hold; nothing where there is no log, for others may just have written
        to them. The cell is to be opened anew after it."""
        ...

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        """The rows that are there, in the order of the ids."""
        ...

    def hold_moment(self) -> str:
        """Hold the cell's state of this moment for `rows_at`; its name, empty if the store cannot. It is held for two
        minutes after it was last read, an hour at most, in this process alone."""
        ...

    def rows_at(self, moment: str, collection_id: str, wanted: RowsWanted) -> RowPage:
        """Rows with their embeddings by id, as they were at a moment; an empty one is now, where the store holds none.

        Raises InvalidRequest, too, if the moment is held no more.
        """
        ...

    def find_ids(self, collection_id: str, condition: RowCondition, limit: int | None = None) -> list[str]:
        """The ids of the rows that match, at most `limit`."""
        ...

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        """About `count` nearest matching rows, nearest first, without embeddings; approximate, and perhaps fewer than
        there are."""
        ...

    def row_count(self) -> int:
        """How many rows all collections of callers have together; takes as long as to read all of their ids."""
        ...

    def disk_bytes(self) -> int | None:
        """How much of the disk its rows take, and what is made of them; None where that is another machine's. Room
        that was given back is not counted, though files may keep it."""
        ...

    def give_room_back(self) -> None:
        """Let go of what replaced and deleted rows take, or of a part of it, as far as nobody reads them still."""
        ...

    def close(self) -> None:
        """Let go of everything the cell holds open."""
        ...


class CellStore(Protocol):
    """Where the cells are."""

    @property
    def kind(self) -> str:
        """One word for logs, such as "embedded"."""
        ...

    @property
    def location(self) -> str:
        """Path or address, without secrets."""
        ...

    @property
    def has_other_writers(self) -> bool:
        """Whether others may write to the cells, so that nothing read may be kept for long."""
        ...

    def open(self, tenant_id: str, *, create: bool) -> Cell | None:
        """The tenant's cell, made if wanted; None if there is none. Never makes anything for a mere read."""
        ...

    def heartbeat(self) -> None:
        """Return if the store answers; raise RetrievalUnavailable otherwise."""
        ...

    def refusal(self) -> str | None:
        """Why it takes no writes at present, though it can be read; None if it does, as far as is known here."""
        ...

    def close(self) -> None:
        """Let go of what is shared by all cells."""
        ...


def moment_not_held() -> InvalidRequest:
    """What callers are told of a moment that cannot be read any more, or never could."""
    return InvalidRequest.of("moment", "is not held any more; begin anew with an empty one")
