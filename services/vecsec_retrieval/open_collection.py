"""A collection in use: in memory where this process alone writes to it and it fits, and in the store in any case."""

import asyncio
import contextvars
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from weakref import ref

import structlog

from vecsec_chassis.errors import RetrievalUnavailable, VecSecError
from vecsec_chassis.labels import Label
from vecsec_retrieval.cells import Cell
from vecsec_retrieval.cold_reader import ColdReader
from vecsec_retrieval.hot_reader import HotReader, RememberedAnswers
from vecsec_retrieval.index import CollectionIndex
from vecsec_retrieval.index_loading import Change, IndexLoad
from vecsec_retrieval.label_catalogue import LabelCatalogue
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.readers import CollectionReader
from vecsec_retrieval.residuals import Visibility
from vecsec_retrieval.roster import BYTES_PER_ROW as ROSTER_BYTES_PER_ROW
from vecsec_retrieval.roster import Roster
from vecsec_retrieval.rows import CollectionInfo, Vector
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.tagging import caller_metadata, from_stored
from vecsec_retrieval.visible_rows import see

_ROSTER_SHARE = 2
"""Of all memory, half at most for ids and labels of one collection that does not fit as a whole."""
_LOAD_PATIENCE_SECONDS = 0.06
"""So long a searcher waits for a small collection to be in memory: to ask the store meanwhile takes 20 ms, and the
load longer."""
log = structlog.get_logger()

_CHROMA_BYTES_PER_ROW = 256
"""What Chroma's own vector index, once it is loaded, takes per row beside the vector (measured)."""


@dataclass(frozen=True, slots=True)
class ExistingRow:
    """What a writer has to know of a row that it is about to replace or remove."""

    label: Label | None
    """None if the row's tags are not whole, so that nobody may touch it."""
    metadata_keys: frozenset[str]


class LoadObserver(Protocol):
    """Is told how loads and compactions end."""

    def loaded(self, tenant_id: str) -> None:
        """A collection of the tenant was read as a whole."""
        ...

    def compacted(self, tenant_id: str) -> None:
        """A collection of the tenant in memory was made smaller, or that was tried."""
        ...

    def load_failed(self, tenant_id: str, error: VecSecError) -> None:
        """A collection of the tenant could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class Warmth:
    """Whether and how collections are taken into memory."""

    allowed: bool
    """False where others write, too, for nobody would tell us."""
    limit_bytes: int
    loads: asyncio.Semaphore
    """How many collections may load at the same time."""
    observer: LoadObserver
    answers: RememberedAnswers
    """What searches in memory found."""


class OpenCollection:
    """One collection of an open cell. Used on the event loop."""

    def __init__(
        self, cell: Cell, info: CollectionInfo, *, threads: StoreThreads, metrics: RetrievalMetrics, warmth: Warmth
    ) -> None:
        self.info = info
        self.catalogue = LabelCatalogue(cell, info.collection_id, threads, has_other_writers=not warmth.allowed)
        self._cell = cell
        self._threads = threads
        self._metrics = metrics
        self._warmth = warmth
        self._index: CollectionIndex | None = None
        self._load: IndexLoad | None = None
        self._loading: asyncio.Task[None] | None = None
        self._takes_longer: asyncio.Future[None] | None = None
        """Done once whoever set off the load need not wait for it."""
        self._compacting: asyncio.Task[None] | None = None
        self._since_compaction: list[Change] = []
        self._rows_too_many = 0
        """How many rows there were when they did not fit."""
        self._is_outgrown = False
        """Whether the rows took too much memory once; then no more than ids and labels are loaded."""
        self._is_too_large = False
        self._roster: Roster | None = None
        self._known_rows = 0
        # A cycle would keep the rows of a closed cell in memory: the services hardly ever collect cycles.
        itself = ref(self)
        self._cold = ColdReader(
            cell,
            info.collection_id,
            catalogue=self.catalogue,
            threads=threads,
            metrics=metrics,
            roster=lambda: None if (collection := itself()) is None else collection.roster,
        )

    @property
    def approximate_bytes(self) -> int:
        """Memory that the collection takes here."""
        index = 0 if self._index is None else self._index.approximate_bytes
        roster = 0 if self._roster is None else self._roster.approximate_bytes
        return self.catalogue.approximate_bytes + index + roster

    @property
    def roster(self) -> Roster | None:
        """Ids and labels of a collection that is too large to be in memory as a whole."""
        return self._roster

    @property
    def store_bytes(self) -> int:
        """Memory that its vectors, once they were read, take inside Chroma while that is open."""
        rows = self._known_rows if self._index is None else len(self._index)
        return rows * (self.info.dimensions * 4 + _CHROMA_BYTES_PER_ROW)

    @property
    def is_loading(self) -> bool:
        """Whether the collection is being taken into memory, or made smaller there."""
        return self._loading is not None or self._compacting is not None

    @property
    def may_leave_memory(self) -> bool:
        """Whether rows are in memory, as a whole or by id and label, and are not just being made fewer."""
        return (self._index is not None or self._roster is not None) and self._compacting is None

    @property
    def hot_rows(self) -> int:
        """How many rows are in memory: all or none."""
        return 0 if self._index is None else len(self._index)

    def reader(self) -> CollectionReader:
        """Reads from memory if the collection is there; otherwise from the store, while it is taken into memory."""
        self.warm()
        return self._reader_now()

    async def prompt_reader(self) -> CollectionReader:
        """As `reader`, but whoever sets off a load waits for it until the collection proves to be large: a small one is
        in memory before the store would have answered."""
        load = self.warm()
        if load is not None and self._takes_longer is not None:
            ends_the_wait = [load, self._takes_longer]
            await asyncio.wait(ends_the_wait, timeout=_LOAD_PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        # Not set off again, where it failed.
        return self._reader_now()

    def warm(self) -> "asyncio.Task[None] | None":
        """Begin to take the collection into memory, unless it is there, on its way or must not be; the load, if so."""
        if self._index is not None or self._loading is not None or self._is_too_large or not self._warmth.allowed:
            return None
        # An empty context: the load outlives the call that sets it off, and must not have its deadline.
        self._takes_longer = asyncio.get_running_loop().create_future()
        if self._warmth.loads.locked():
            self._takes_longer.set_result(None)  # others come first
        self._loading = asyncio.create_task(self._load_index(), context=contextvars.Context())
        return self._loading

    def begin_empty(self) -> None:
        """The collection was just made: its index is complete at once."""
        if self._warmth.allowed and self._loading is None:  # a searcher may have been quicker
            self._index = CollectionIndex(self.info.dimensions)

    def apply(self, change: Change) -> None:
        """The store acknowledged a write: do it in memory, too."""
        if self._index is not None:
            change(self._index)
            if self._compacting is not None:
                self._since_compaction.append(change)
            elif self._index.is_worth_compacting:
                self._begin_compacting(self._index)
        elif self._roster is not None:
            change(self._roster)
            self._come_back(self._roster)
        elif self._load is not None:
            self._load.note(change)

    async def make_room(self, count: int) -> None:
        """Have room in memory for so many more documents; the caller holds the writer's lock. What an index holds is
        moved for that, which takes too long for the event loop."""
        index = self._index
        if index is not None and index.lacks_room(count):
            # To the end, even if the call is cancelled: nobody may write meanwhile, and then the lock is free.
            await self._threads.run_to_the_end("make_room", partial(index.make_room, count), index.let_snapshot_go)

    def leave_memory(self) -> None:
        """Be read from the store from now on, for it takes too much. Of rows that were in memory as a whole, the next
        load brings ids and labels, if they fit."""
        if self._index is not None:
            self._index, self._is_outgrown = None, True
        elif self._roster is not None:
            self._roster, self._is_too_large = None, True

    def _come_back(self, roster: Roster) -> None:
        """Let the next load try again, where half of what was too much is gone."""
        if len(roster) * 2 < self._rows_too_many:
            self._roster = None
            self._is_outgrown = self._is_too_large = False

    async def existing(self, document_ids: Sequence[str]) -> dict[str, ExistingRow]:
        """Those of these rows that exist, visible or not; for decisions about writes only."""
        if self._index is not None:
            return _existing_in_memory(self._index, document_ids)
        rows = await self._threads.run(
            "get", lambda: self._cell.get(self.info.collection_id, document_ids, with_embeddings=False)
        )
        existing = {}
        for row in rows:
            document = from_stored(row, self._cell.tenant_id)
            existing[row.document_id] = ExistingRow(
                None if document is None else document.label, frozenset(caller_metadata(row.metadata))
            )
        return existing

    async def embeddings(self, document_ids: Sequence[str], visibility: Visibility) -> dict[str, Vector]:
        """The embeddings of visible documents as they were stored, by id."""
        rows = await self._threads.run(
            "get_embeddings", lambda: self._cell.get(self.info.collection_id, document_ids, with_embeddings=True)
        )
        seen = await see(rows, self._cell.tenant_id, visibility, self._metrics)
        return {key: document.embedding for key, document in seen.visible.items() if document.embedding is not None}

    async def loaded(self) -> None:
        """Wait until a load or a compaction that goes on has ended, one way or another."""
        for task in (self._loading, self._compacting):
            if task is not None:
                await asyncio.wait([task])

    async def stop_loading(self) -> None:
        """Give up a load or a compaction that goes on."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        if self._compacting is not None:  # perhaps another one than before
            self._compacting.cancel()
            await asyncio.wait([self._compacting])

    async def _load_index(self) -> None:
        try:
            async with self._warmth.loads:
                self._load = IndexLoad(self._cell, self.info, self._threads, self._metrics, self._end_the_wait)
                loaded = await self._load.run(self._fits, self._roster_fits, limit_bytes=self._warmth.limit_bytes)
                if isinstance(loaded, CollectionIndex):
                    self._index = loaded
                else:
                    self._is_too_large, self._roster = True, loaded
                    self._rows_too_many = self._known_rows
        except VecSecError as error:
            # Readers go on from the store, which tells them if it is beyond that, too.
            self._warmth.observer.load_failed(self._cell.tenant_id, error)
        else:
            self._warmth.observer.loaded(self._cell.tenant_id)
        finally:
            # Also where it was given up before its turn: a task that was cancelled holds whoever holds it.
            self._load = None
            self._loading = None
            self._takes_longer = None

    def _end_the_wait(self) -> None:
        if self._takes_longer is not None and not self._takes_longer.done():
            self._takes_longer.set_result(None)

    def _reader_now(self) -> CollectionReader:
        if self._index is None:
            return self._cold
        return HotReader(self._index, self._threads, self._warmth.answers)

    def _begin_compacting(self, index: CollectionIndex, *, is_second: bool = False) -> None:
        compacting = self._compact(index, is_second=is_second)
        self._compacting = asyncio.create_task(compacting, context=contextvars.Context())

    async def _compact(self, index: CollectionIndex, *, is_second: bool) -> None:
        """Let an index without the dead rows take the place of this one; what is written meanwhile is done to both."""
        compacted: CollectionIndex | None = None
        try:
            compacted = await self._threads.run("compact", index.compaction())
            while self._since_compaction:
                self._since_compaction.pop(0)(compacted)
                await asyncio.sleep(0)  # each may be as much as a batch holds
            if self._index is index:  # and has not left memory meanwhile
                self._index = compacted
        except RetrievalUnavailable:
            log.info("too busy to compact, the next write tries again", tenant_id=self._cell.tenant_id)
        finally:
            self._compacting = None
            self._since_compaction = []
        if compacted is not None and self._index is compacted and compacted.is_worth_compacting and not is_second:
            # What was written meanwhile left as many dead rows again, which would count against it now. Once only: a
            # collection that is being compacted does not leave memory, and who goes on writing could keep it so.
            self._begin_compacting(compacted, is_second=True)
        self._warmth.observer.compacted(self._cell.tenant_id)

    def _roster_fits(self, rows: int) -> bool:
        return rows * ROSTER_BYTES_PER_ROW <= self._warmth.limit_bytes // _ROSTER_SHARE

    def _fits(self, rows: int) -> bool:
        self._known_rows = rows
        return not self._is_outgrown and rows * (self.info.dimensions * 9 + 2 * 1024) <= self._warmth.limit_bytes


def _existing_in_memory(index: CollectionIndex, document_ids: Sequence[str]) -> dict[str, ExistingRow]:
    existing = {}
    for document_id in document_ids:
        document = index.find(document_id)
        if document is not None:
            existing[document_id] = ExistingRow(document.label, frozenset(document.metadata))
        elif document_id in index.untagged_ids:
            existing[document_id] = ExistingRow(None, frozenset())
    return existing
