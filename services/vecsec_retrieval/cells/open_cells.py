"""Opens tenants' cells on demand, lends them to calls, and closes those that were not used for longest."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from vecsec_chassis.background import detached
from vecsec_chassis.domain.errors import StoreDamaged, VecSecError
from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_retrieval.cells.open_cell import CellState, OpenCell
from vecsec_retrieval.cells.open_collection import LoadRules
from vecsec_retrieval.cells.opening_turns import OpeningTurns
from vecsec_retrieval.cells.resting_cell import RestingCell
from vecsec_retrieval.memory.budget import MemoryBudget, give_back_memory
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo
from vecsec_retrieval.model.store import Cell, CellStore
from vecsec_retrieval.search.memory_reader import AnswerCache
from vecsec_retrieval.shard.own_tenants import EverybodysShard, OwnTenants
from vecsec_retrieval.store_threads import StoreThreads

log = structlog.get_logger()

Result = TypeVar("Result")

_BUILDS_AT_ONCE = 2
_GIVE_BACK_SECONDS = 1.0
_BUDGET_DELAY_SECONDS = 0.05


class OpenCells:
    """All cells that are open. Used on the event loop."""

    def __init__(
        self,
        store: CellStore,
        *,
        threads: StoreThreads,
        budget: MemoryBudget,
        most_awake: int = 32,
        metrics: RetrievalMetrics,
        answers: AnswerCache | None = None,
        tenants: OwnTenants | EverybodysShard | None = None,
    ) -> None:
        """`most_awake` is for how many of them Chroma is kept open, `tenants` are those that belong here."""
        self._store = store
        self._tenants = tenants or EverybodysShard()
        self._most_awake = most_awake
        self._threads = threads
        self._budget = budget
        self._metrics = metrics
        self._load_rules = LoadRules(
            limit_bytes=budget.available_bytes,
            builds=asyncio.Semaphore(_BUILDS_AT_ONCE),
            observer=self,
            answers=answers or AnswerCache(0),
        )
        self._open: OrderedDict[str, OpenCell] = OrderedDict()
        """By tenant; those that were not used for longest first."""
        self._awake: set[OpenCell] = set()
        """Those of the open ones for which Chroma is open."""
        self._opening_turns = OpeningTurns()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unsettled: set[OpenCell] = set()
        self._settling: asyncio.TimerHandle | None = None
        self._damaged: set[str] = set()
        self._gave_back_at = time.monotonic()
        self._measured = (-1, -1, -1)
        self._measure()

    @property
    def damaged(self) -> frozenset[str]:
        """Tenants whose cell could not be read when it was last tried."""
        return frozenset(self._damaged)

    @property
    def have_words(self) -> bool:
        """Whether cells can be searched by words: a server that others write to finds by vectors alone."""
        return not self._store.has_other_writers

    @property
    def rows_in_memory(self) -> int:
        """How many rows of all open cells are in memory; asked for from any thread."""
        return sum(cell.rows_in_memory for cell in tuple(self._open.values()))

    def lease(self, tenant_id: str, *, create: bool = False) -> "_Lease":
        """A context with the tenant's cell, which stays open inside the block; None if the tenant has none and none is
        to be made."""
        return _Lease(self, tenant_id, create=create)

    async def borrow(self, tenant_id: str, *, create: bool) -> OpenCell | None:
        """The tenant's cell as `lease` gives it, to be given back.

        Raises:
            WrongShard: if the tenant belongs to another service.
            StoreDamaged: if it cannot be opened.
            LimitExceeded: if so many others are to be opened that it would take too long.
        """
        self._tenants.demand(tenant_id)
        while True:
            cell = self._open.get(tenant_id)
            if cell is None:
                if not await self._opened(tenant_id, create=create):
                    return None
            elif cell.state is CellState.RETIRED:
                await cell.closed.wait()
            else:
                cell.leases += 1
                self._open.move_to_end(tenant_id)
                return cell

    def give_back(self, cell: OpenCell, *, create: bool, error: BaseException | None) -> None:
        """End a lease of a cell, which is closed if this error of its user says that it is damaged."""
        if isinstance(error, StoreDamaged):
            cell.retire()
            self._note_damage(cell.tenant_id, error)
        cell.end_opening()
        cell.leases -= 1
        if create or cell.state is not CellState.OPEN:
            self._enforce_budget(cell)
        else:
            self._enforce_budget_soon(cell)

    async def count_rows(self, tenant_id: str, count_closed: Callable[[str], int]) -> int:
        """How many rows a tenant has, without opening its cell; `count_closed` counts those of one that is not open.

        Raises:
            StoreDamaged: if they cannot be read.
        """
        if tenant_id in self._open:
            async with self.lease(tenant_id) as cell:
                if cell is not None:
                    return await self._threads.run("count_rows", partial(_count_living, cell.cell))
        async with self._cell_lock(tenant_id):
            if tenant_id not in self._open:
                return await self._threads.run("count_rows", partial(count_closed, tenant_id))
        return await self.count_rows(tenant_id, count_closed)

    async def close_one(self, tenant_id: str) -> None:
        """Close a tenant's cell as soon as nobody uses it, and with it what is in memory; whoever wants it waits."""
        cell = self._open.get(tenant_id)
        if cell is not None:
            cell.retire()
            self._enforce_budget(cell)
            await cell.closed.wait()

    async def aclose(self) -> None:
        """Close every cell, when calls have ended; a write that outlived its call is waited for."""
        if self._settling is not None:
            self._settling.cancel()
        for cell in list(self._open.values()):
            self._start_closing(cell)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def loaded(self, tenant_id: str) -> None:
        """A collection was read as a whole."""
        cell = self._open.get(tenant_id)
        if cell is None:
            return
        if tenant_id in self._damaged and cell.state is not CellState.RETIRED:
            self._damaged.discard(tenant_id)
            self._metrics.damaged_cells.set(len(self._damaged))
            log.info("cell is readable again", tenant_id=tenant_id)
        self._enforce_budget(cell)

    def saved(self, tenant_id: str) -> None:
        """A snapshot took the place of what was in memory, or that was tried."""
        cell = self._open.get(tenant_id)
        if cell is not None:
            self._enforce_budget(cell)

    def load_failed(self, tenant_id: str, error: VecSecError) -> None:
        """A collection could not be taken into memory."""
        log.warning("loading failed", tenant_id=tenant_id, reason=error.reason.value, detail=error.detail)
        cell = self._open.get(tenant_id)
        if isinstance(error, StoreDamaged) and cell is not None:
            self._note_damage(tenant_id, error)
            cell.retire()
            self._enforce_budget(cell)

    async def _opened(self, tenant_id: str, *, create: bool) -> bool:
        """Open the cell in its turn, which a reader has until it has its first answer; whether there is one."""
        turn = await self._opening_turns.take()
        try:
            # A task of its own: a call that is cancelled meanwhile must not lose a cell that is half open.
            is_open = await asyncio.shield(self._begin(self._open_cell(tenant_id, create=create)))
        except StoreDamaged:
            turn.end()
            raise
        except BaseException:
            turn.give_up()
            raise
        cell = self._open.get(tenant_id)
        if create or cell is None:
            turn.end()
        else:
            cell.end_opening()
            cell.end_opening = turn.end
        return is_open

    async def _open_cell(self, tenant_id: str, *, create: bool) -> bool:
        async with self._cell_lock(tenant_id):
            if tenant_id in self._open:
                return True
            try:
                # Once more: since this was let in, a placement may have come that has the tenant elsewhere.
                with self._tenants.beginning(tenant_id):
                    found = await self._threads.run(
                        "open_cell", partial(_open_and_list, self._store, tenant_id, create=create)
                    )
            except StoreDamaged as error:
                self._note_damage(tenant_id, error)
                raise
            if found is None:
                return False
            cell, collections = found
            resting = RestingCell(cell, lambda: self._reopened(tenant_id))
            opened = self._open[tenant_id] = OpenCell(
                resting, collections, threads=self._threads, metrics=self._metrics, load_rules=self._load_rules
            )
            if not opened.look_through.is_complete:
                self._begin(self._look_through(opened))
            return True

    async def _look_through(self, cell: OpenCell) -> None:
        try:
            await cell.look_through.run()
        except StoreDamaged as error:
            self.load_failed(cell.tenant_id, error)
        except BaseException:
            cell.retire()  # nobody knows what is torn: it is opened anew
            raise

    def _enforce_budget_soon(self, cell: OpenCell) -> None:
        """Not before a reader has its answer, and once for all that read in this time: they change next to nothing."""
        self._unsettled.add(cell)
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(
                _BUDGET_DELAY_SECONDS, self._enforce_budget_for_readers
            )

    def _enforce_budget_for_readers(self) -> None:
        self._settling = None
        unsettled, self._unsettled = self._unsettled, set()
        for cell in unsettled:
            self._enforce_budget(cell)

    def _enforce_budget(self, cell: OpenCell) -> None:
        """Account for what the cell takes now, and close whatever has to go."""
        if cell.state is CellState.CLOSING:
            return
        if cell.state is CellState.NEW:
            cell.state = CellState.OPEN
        # First of all: for a cell that no room is large enough for, all others would go.
        cell.keep_within(self._budget.available_bytes)
        self._account_for(cell)
        self._open.move_to_end(cell.tenant_id)
        if cell.state is CellState.RETIRED and not cell.leases:
            self._start_closing(cell)
        self._rest_some()
        for tenant_id in self._budget.excess(self._open):
            candidate = self._open[tenant_id]
            if not candidate.leases:
                self._metrics.count_closed_for_memory()
                self._start_closing(candidate)
        self._measure()

    def _rest_some(self) -> None:
        """Let Chroma go where it was not needed for longest, if it is open for too many or takes what others need."""
        if not self._has_too_many_awake():
            return
        # Never the last one: to open a large one for each search would take far longer than to search it.
        *rest, _ = sorted(self._awake, key=lambda cell: cell.cell.used_at)
        for cell in rest:
            if not cell.may_rest:
                continue
            self._awake.discard(cell)
            self._budget.resize(cell.tenant_id, cell.bytes_at_rest)
            self._begin(self._rest(cell))
            if not self._has_too_many_awake():
                break

    def _has_too_many_awake(self) -> bool:
        return len(self._awake) > self._most_awake or (len(self._awake) > 1 and self._budget.is_exceeded)

    async def _rest(self, cell: OpenCell) -> None:
        try:
            await cell.rest()
            if time.monotonic() - self._gave_back_at > _GIVE_BACK_SECONDS:
                self._gave_back_at = time.monotonic()
                await self._threads.run("give_back_memory", give_back_memory)
        except VecSecError as error:
            log.warning("closing failed", tenant_id=cell.tenant_id, detail=error.detail)
        if cell.state is not CellState.CLOSING:
            self._account_for(cell)
            self._measure()

    def _account_for(self, cell: OpenCell) -> None:
        self._budget.resize(cell.tenant_id, cell.approximate_bytes)
        # A remote store is open elsewhere; here, letting it go would give nothing back.
        if cell.cell.is_awake and not self._store.has_other_writers:
            self._awake.add(cell)
        else:
            self._awake.discard(cell)

    def _reopened(self, tenant_id: str) -> Cell:
        cell = self._store.open(tenant_id, create=False)
        if cell is None:
            raise StoreDamaged(f"the store of tenant {tenant_id!r} is gone", detail="while its rows were in memory")
        return cell

    def _start_closing(self, cell: OpenCell) -> None:
        cell.state = CellState.CLOSING
        cell.look_through.give_up()
        del self._open[cell.tenant_id]
        self._awake.discard(cell)
        self._budget.remove(cell.tenant_id)
        self._begin(self._close_cell(cell))

    async def _close_cell(self, cell: OpenCell) -> None:
        async with self._cell_lock(cell.tenant_id):
            try:
                await cell.close()
            except VecSecError as error:
                log.warning("closing failed", tenant_id=cell.tenant_id, detail=error.detail)
        self._measure()

    def _cell_lock(self, tenant_id: str) -> asyncio.Lock:
        """Opening and closing one tenant's cell take turns: a directory is never open twice."""
        return self._turns.setdefault(tenant_id, asyncio.Lock())

    def _begin(self, work: Coroutine[object, object, Result]) -> "asyncio.Task[Result]":
        task = detached(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _note_damage(self, tenant_id: str, error: StoreDamaged) -> None:
        if tenant_id not in self._damaged:
            log.error("cell is damaged", tenant_id=tenant_id, detail=error.detail)
        self._damaged.add(tenant_id)
        self._metrics.damaged_cells.set(len(self._damaged))

    def _measure(self) -> None:
        measured = (len(self._open), self._budget.total_bytes, len(self._awake))
        if measured != self._measured:  # setting a gauge costs more than most searches leave to be measured
            self._measured = measured
            self._metrics.open_cells.set(measured[0])
            self._metrics.awake_cells.set(measured[2])
            self._metrics.index_bytes.set(measured[1])


def _count_living(cell: Cell) -> int:
    changes = cell.log
    if changes is None:
        return 0
    callers = [info.collection_id for info in cell.collections() if is_collection_id(info.collection_id)]
    return sum(len(changes.living(collection_id)) for collection_id in callers)


def _open_and_list(store: CellStore, tenant_id: str, *, create: bool) -> tuple[Cell, list[CollectionInfo]] | None:
    """A cell, and those of its collections that are known from now on: where nobody else makes any."""
    cell = store.open(tenant_id, create=create)
    if cell is None:
        return None
    try:
        return cell, [] if cell.log is None else cell.collections()
    except BaseException:
        cell.close()  # its directory must not be open twice
        raise


class _Lease:
    """Written out, for asynchronous context managers made of generators cost 10 µs a call and more."""

    __slots__ = ("_cell", "_cells", "_create", "_tenant_id")

    def __init__(self, cells: OpenCells, tenant_id: str, *, create: bool) -> None:
        self._cells = cells
        self._tenant_id = tenant_id
        self._create = create

    async def __aenter__(self) -> OpenCell | None:
        self._cell = await self._cells.borrow(self._tenant_id, create=self._create)
        return self._cell

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._cell is not None:
            self._cells.give_back(self._cell, create=self._create, error=error)
