"""What retrieval asks of a vector store: a cell per tenant, and a store of cells.

All calls block and may be made from any thread; `store_threads.py` keeps them off the event loop. Implementations are
in `stores/`; one contract suite runs over all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vecsec_chassis.domain.errors import LimitExceeded
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.model.rows import CollectionInfo, Neighbour, StoredRow, Vector


class WritesRefused(LimitExceeded):
    """The store takes no writes at present, and this one was not begun: no room on its disk, or that is read-only."""


@dataclass(frozen=True, slots=True)
class RowCondition:
    """Which rows to find. Only positive conditions, for stores count rows that lack a key as unequal to anything."""

    label_keys: frozenset[str] | None = None
    """Rows tagged with one of these label keys; None does not look at the tag."""
    metadata: MetadataFilter | None = None
    """A condition on the callers' own metadata. A store finds every row that matches and, where its comparisons are
    coarser, perhaps some that do not."""
    document_ids: tuple[str, ...] | None = None
    """Rows among these alone, at most 10,000, and only where the nearest are asked for. If one of them is gone, perhaps
    nothing is found."""


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

    def upsert(self, collection_id: str, rows: Sequence[StoredRow]) -> None:
        """Store rows with embeddings, at most 1,000, replacing those of the same id; durable on return."""
        ...

    def delete(self, collection_id: str, document_ids: Sequence[str]) -> None:
        """Remove rows; ids that are not there are ignored."""
        ...

    def get(self, collection_id: str, document_ids: Sequence[str], *, with_embeddings: bool) -> list[StoredRow]:
        """The rows that are there, in the order of the ids."""
        ...

    def head(self, collection_id: str, count: int) -> list[StoredRow]:
        """So many rows with their embeddings, whichever the store reads first; all, if there are no more."""
        ...

    def find_ids(self, collection_id: str, condition: RowCondition, limit: int | None = None) -> list[str]:
        """The ids of the rows that match, at most `limit`."""
        ...

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        """About `count` nearest matching rows, nearest first, without embeddings; approximate, and perhaps fewer than
        there are."""
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
