"""A tenant's cell while it is open: its collections, and the one writer at a time."""

import asyncio
import time
from collections.abc import Callable, Iterable
from enum import Enum

import structlog

from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_retrieval.cells.look_through import LookThrough
from vecsec_retrieval.cells.open_collection import LoadRules, OpenCollection
from vecsec_retrieval.cells.resting_cell import RestingCell
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo
from vecsec_retrieval.model.store import RowCondition, RowPage, RowsWanted, WritesRefused
from vecsec_retrieval.search.label_catalogue import SUFFIX
from vecsec_retrieval.store_threads import StoreThreads

log = structlog.get_logger()

_BYTES_AWAKE = 7 * 1024 * 1024
"""What Chroma takes for a cell beside its rows, once it has been read (measured: 0.7 MiB before, 6.5 MiB after)."""
_BYTES_AT_REST = 64 * 1024
"""What an open cell takes beside its rows while Chroma is not open for it."""
_FRESH_SECONDS = 1.0
_COUNT_HOLDS_SECONDS = 10.0


def _nothing() -> None:
    """There is nothing to be ended."""


class CellState(Enum):
    """From the moment a cell is open until it is no more; a later state is never left for an earlier one."""

    NEW = "lent, and not accounted for yet"
    OPEN = "lent to whoever asks"
    RETIRED = "the store failed, or is to be read anew: nobody borrows it any more, and it closes once nobody uses it"
    CLOSING = "no longer among the open ones: loads are given up, and a write that has begun is waited for"


class OpenCell:
    """One tenant's open cell. Used on the event loop."""

    def __init__(
        self,
        cell: RestingCell,
        collections: Iterable[CollectionInfo],
        *,
        threads: StoreThreads,
        metrics: RetrievalMetrics,
        load_rules: LoadRules,
    ) -> None:
        """Take over an open cell, of which these collections are known."""
        self.cell = cell
        self.tenant_id = cell.tenant_id
        self.writer = asyncio.Lock()
        """Held from reading what is there until what replaces it is stored. It binds this process alone: where others
        write to the same store, theirs may come in between, each within its own grant."""
        self.leases = 0
        self.state = CellState.NEW
        self.closed = asyncio.Event()
        self.end_opening: Callable[[], None] = _nothing
        """Lets others be opened, if it still keeps them waiting."""
        self.look_through = LookThrough(cell.log, threads)
        self._threads = threads
        self._metrics = metrics
        self._load_rules = load_rules
        self._collections: dict[str, OpenCollection] = {}
        self._checked_at: dict[str, float] = {}
        self._knows_all = False
        """Whether all collections that the store has were met."""
        self._row_count: int | None = None
        self._counted_at = 0.0
        self._has_failed = False
        """Whether what is in memory may not be what the store holds."""
        for info in collections:
            if is_collection_id(info.collection_id):
                self._take(info.collection_id, info)

    def retire(self) -> None:
        """Nobody is to borrow the cell any more; the next call opens it afresh."""
        self._has_failed = True
        if self.state is not CellState.CLOSING:
            self.state = CellState.RETIRED

    @property
    def approximate_bytes(self) -> int:
        """Memory that the cell takes with everything in it."""
        return self.bytes_at_rest + (_BYTES_AWAKE if self.cell.is_awake else 0)

    @property
    def bytes_at_rest(self) -> int:
        """Memory that the cell takes while Chroma is not open for it."""
        return _BYTES_AT_REST + sum(collection.approximate_bytes for collection in self._collections.values())

    def keep_within(self, limit_bytes: int) -> None:
        """Let the largest collections leave memory, as many as it takes for the cell to be no larger than this."""
        in_memory = [collection for collection in self._collections.values() if collection.may_leave_memory]
        for collection in sorted(in_memory, key=lambda collection: collection.approximate_bytes, reverse=True):
            if self.bytes_at_rest <= limit_bytes:
                break
            log.warning(
                "collection is too large for memory",
                tenant_id=self.tenant_id,
                collection_id=collection.info.collection_id,
                bytes=collection.approximate_bytes,
            )
            collection.leave_memory()

    @property
    def may_rest(self) -> bool:
        """Whether nothing goes on that needs the store's side open."""
        is_loading = any(collection.is_loading for collection in self._collections.values())
        is_used = self.leases or self.writer.locked() or is_loading
        return self.state is CellState.OPEN and self.cell.is_awake and not is_used

    async def rest(self) -> None:
        """Let go of the store's side until something needs it; what is in memory stays."""
        await self._threads.run("rest_cell", self.cell.rest)

    @property
    def rows_in_memory(self) -> int:
        """How many rows of all collections are in memory; asked for from any thread."""
        return sum(collection.rows_in_memory for collection in tuple(self._collections.values()))

    async def collection(self, collection_id: str) -> OpenCollection | None:
        """The collection, or None if there is none of this id."""
        known = self._collections.get(collection_id)
        if known is not None and (self.cell.log is not None or self._is_fresh(collection_id)):
            return known
        if self.cell.log is not None:
            # Nobody else makes collections here. Where one was looked for in the store each time, time would tell one
            # that is hidden from one that is not there.
            if not self._knows_all:
                await self.collections()
            return self._collections.get(collection_id)
        info = await self._threads.run("find_collection", lambda: self.cell.find_collection(collection_id))
        return self._take(collection_id, info)

    async def collections(self) -> list[OpenCollection]:
        """All collections, by id."""
        infos = await self._threads.run("list_collections", self.cell.collections)
        taken = [self._take(info.collection_id, info) for info in infos if is_collection_id(info.collection_id)]
        self._knows_all = True
        return sorted((each for each in taken if each is not None), key=lambda each: each.info.collection_id)

    async def row_count(self) -> int:
        """How many rows all collections have; the caller holds the writer's lock. Counted once, where nobody else
        writes, and every ten seconds else."""
        now = time.monotonic()
        counted = self._row_count
        if counted is None or (self.cell.log is None and now - self._counted_at >= _COUNT_HOLDS_SECONDS):
            counted = self._row_count = await self._threads.run("row_count", self.cell.row_count)
            self._counted_at = now
        return counted

    def rows_changed(self, more: int) -> None:
        """So many more rows are stored, or fewer; the caller holds the writer's lock."""
        if self._row_count is not None:
            self._row_count += more

    async def disk_bytes(self) -> int | None:
        """How much of the disk it takes; None where that is another machine's."""
        return await self._threads.run("disk_bytes", self.cell.disk_bytes)

    async def give_room_back(self) -> None:
        """Let go of what deleted rows take; the caller holds the writer's lock."""
        await self.look_through.wait()
        await self._threads.run("give_room_back", self.cell.give_room_back)

    async def hold_moment(self) -> str:
        """Hold the cell's state of this moment; see `Cell.hold_moment`."""
        return await self._threads.run("hold_moment", self.cell.hold_moment)

    async def rows_at(self, moment: str, collection_id: str, wanted: RowsWanted) -> RowPage:
        """Rows as they were at a moment; see `Cell.rows_at`."""
        return await self._threads.run("rows_at", lambda: self.cell.rows_at(moment, collection_id, wanted))

    async def create_collection(self, info: CollectionInfo) -> OpenCollection:
        """Make a collection; the caller holds the writer's lock and has seen that there is none."""
        await self.look_through.wait()
        try:
            made = await self._threads.run("create_collection", lambda: self.cell.create_collection(info))
        except WritesRefused:
            raise
        except BaseException:
            self.retire()  # it may have been made in part; opened anew, the cell is whole
            raise
        collection = self._take(made.collection_id, made)
        assert collection is not None
        return collection

    async def drop_if_empty(self, collection_id: str) -> None:
        """Let a collection begin anew of which no row is left, whoever may see it; the caller holds the writer's lock.
        Where others write, too, it stays."""
        collection = self._collections.get(collection_id)
        if collection is None or self.cell.log is None:
            return
        await self.look_through.wait()
        if await self._threads.run("find_ids", lambda: self.cell.find_ids(collection_id, RowCondition(), 1)):
            return
        beside = collection_id + SUFFIX

        def drop() -> int:
            self.cell.drop_collections([collection_id, beside])
            return 0

        try:
            await collection.stop_loading()
            # As a write: were it left to itself, it could take what is imported next.
            await self.write("drop_collection", drop, lambda _position: self._forget(collection_id))
        finally:
            if self._collections.get(collection_id) is collection and self.state is not CellState.CLOSING:
                collection.go_on()

    async def write(self, operation: str, work: Callable[[], int], done: Callable[[int], None]) -> None:
        """Change the store, then memory; the caller holds the writer's lock and a lease. What the store returns, the
        log's position after it, is given to `done`.

        Once begun, both are done, even if the call is cancelled. If the store fails, nobody knows what it has written:
        the cell is closed, and what is in memory with it.
        """
        await self.look_through.wait()
        is_begun = is_complete = False
        position = 0

        def begin() -> None:
            nonlocal is_begun, position
            is_begun = True
            try:
                position = work()
            except WritesRefused:
                is_begun = False  # what is in memory is as true as before
                raise

        def complete() -> None:
            nonlocal is_complete
            done(position)
            is_complete = True

        try:
            await self._threads.run_to_the_end(operation, begin, complete)
        finally:
            # Looked at whatever was raised: a cancellation hides what the work itself raised.
            if is_begun and not is_complete:
                self.retire()

    async def close(self) -> None:
        """Give up loads, let a write that has begun finish, save what is in memory, and let go of the store's side."""
        try:
            for collection in self._collections.values():
                await collection.stop_loading()
            async with self.writer:
                try:
                    for collection in () if self._has_failed else self._collections.values():
                        await collection.save()
                finally:
                    await self._threads.run("close_cell", self.cell.close)
        finally:
            self.closed.set()

    def _forget(self, collection_id: str) -> None:
        self._collections.pop(collection_id, None)

    def _is_fresh(self, collection_id: str) -> bool:
        return time.monotonic() - self._checked_at[collection_id] < _FRESH_SECONDS

    def _take(self, collection_id: str, info: CollectionInfo | None) -> OpenCollection | None:
        if info is None:
            self._collections.pop(collection_id, None)
            return None
        self._checked_at[collection_id] = time.monotonic()
        known = self._collections.get(collection_id)
        if known is not None and known.info == info:
            return known
        collection = OpenCollection(
            self.cell, info, threads=self._threads, metrics=self._metrics, load_rules=self._load_rules
        )
        self._collections[collection_id] = collection
        return collection
