"""A collection in use: in memory where this process alone writes to it and it fits, and in the store in any case.

What is in memory of it is one of six states, and `MOVES` says which follows which. Readers get the index of `InMemory`
and of `Compacting`, in all other states the store: never a part of a load.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias
from weakref import ref

import structlog

from vecsec_chassis.background import detached
from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable, VecSecError
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.memory.loading import IndexChange, IndexLoad
from vecsec_retrieval.memory.mapped_index import BYTES_PER_ROW as MAPPED_BYTES_PER_ROW
from vecsec_retrieval.memory.mapped_index import MappedIndex
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo, Vector
from vecsec_retrieval.model.store import Cell
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import CollectionReader
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.visibility.tagging import caller_metadata, from_stored
from vecsec_retrieval.visibility.visible_rows import filter_visible

_MAPPED_INDEX_SHARE = 2
"""Of all memory, half at most for what one collection needs there whose vectors are in a file."""
_LOAD_PATIENCE_SECONDS = 0.06
"""So long a searcher waits for a small collection to be in memory: to ask the store meanwhile takes 20 ms, and the
load longer."""
log = structlog.get_logger()


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
class LoadRules:
    """Whether and how collections are taken into memory."""

    allowed: bool
    """False where others write, too, for nobody would tell us."""
    limit_bytes: int
    loads: asyncio.Semaphore
    """How many collections may load at the same time."""
    observer: LoadObserver
    answers: AnswerCache
    """What searches in memory found."""
    vector_folder: Path | None = None
    """Where vectors of collections lie that are too large for memory; None: where the system has nameless files."""


@dataclass(frozen=True, slots=True)
class InStore:
    """Nothing is in memory, yet."""

    is_outgrown: bool = False
    """Whether the rows took too much memory once; then their vectors are loaded into a file."""


@dataclass(frozen=True, slots=True)
class Loading:
    """The collection is being taken into memory, or waits for its turn."""

    task: "asyncio.Task[None]"
    is_outgrown: bool
    takes_longer: "asyncio.Future[None]"
    """Done once whoever set off the load need not wait for it."""
    load: IndexLoad | None = None
    """What is told of writes; None before its turn, for what is written until then will be read."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """All rows are in memory."""

    index: CollectionIndex


@dataclass(frozen=True, slots=True)
class Compacting:
    """All rows are in memory, and an index without the dead ones is being made."""

    index: CollectionIndex
    task: "asyncio.Task[None]"
    changes: list[IndexChange] = field(default_factory=list)
    """What was written since it began, to be done again."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """The rows did not fit: ids and labels alone are in memory, and vectors in a file that is mapped into it."""

    index: MappedIndex


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Not even ids and labels fit into memory, or the vectors not on the disk; no load is tried any more."""


State: TypeAlias = InStore | Loading | InMemory | Compacting | Mapped | TooLarge

MOVES: Mapping[type[State], tuple[type[State], ...]] = {
    InStore: (Loading, InMemory),  # at once, where it was just made
    Loading: (Loading, InMemory, Mapped, TooLarge, InStore),  # its turn has come; it fits so far; it failed
    InMemory: (Compacting, InStore),  # it has many dead rows; it takes too much
    Compacting: (InMemory,),
    Mapped: (TooLarge, InStore),  # even that takes too much; half of the rows are gone, or most of those in the file
    TooLarge: (),
}


class OpenCollection:
    """One collection of an open cell. Used on the event loop."""

    def __init__(
        self,
        cell: Cell,
        info: CollectionInfo,
        *,
        threads: StoreThreads,
        metrics: RetrievalMetrics,
        load_rules: LoadRules,
    ) -> None:
        self.info = info
        self.catalogue = LabelCatalogue(cell, info.collection_id, threads, has_other_writers=not load_rules.allowed)
        self._state: State = InStore()
        self._cell = cell
        self._threads = threads
        self._metrics = metrics
        self._load_rules = load_rules
        self._known_rows = 0
        """How many rows there were when they were last counted, by a load."""
        # A cycle would keep the rows of a closed cell in memory: the services hardly ever collect cycles.
        itself = ref(self)
        self._cold = StoreReader(
            cell,
            info.collection_id,
            catalogue=self.catalogue,
            threads=threads,
            metrics=metrics,
            mapped_index=lambda: None if (collection := itself()) is None else collection.mapped_index,
        )

    @property
    def index(self) -> CollectionIndex | None:
        """All rows, if they are in memory."""
        state = self._state  # once: it is asked for from any thread
        return state.index if isinstance(state, InMemory | Compacting) else None

    @property
    def mapped_index(self) -> MappedIndex | None:
        """What a collection is searched by that is too large to be in memory as a whole."""
        state = self._state
        return state.index if isinstance(state, Mapped) else None

    @property
    def approximate_bytes(self) -> int:
        """Memory that the collection takes here."""
        in_memory = self.mapped_index if self.index is None else self.index
        return self.catalogue.approximate_bytes + (0 if in_memory is None else in_memory.approximate_bytes)

    @property
    def is_loading(self) -> bool:
        """Whether the collection is being taken into memory, or made smaller there."""
        return isinstance(self._state, Loading | Compacting)

    @property
    def may_leave_memory(self) -> bool:
        """Whether rows are in memory, as a whole or by id and label, and are not just being made fewer."""
        return isinstance(self._state, InMemory | Mapped)

    @property
    def rows_in_memory(self) -> int:
        """How many rows are in memory: all or none."""
        index = self.index
        return 0 if index is None else len(index)

    def reader(self) -> CollectionReader:
        """Reads from memory if the collection is there; otherwise from the store, while it is taken into memory."""
        self.start_loading()
        return self._reader_now()

    async def reader_after_quick_load(self) -> CollectionReader:
        """As `reader`, but whoever sets off a load waits for it until the collection proves to be large: a small one is
        in memory before the store would have answered."""
        loading = self.start_loading()
        if loading is not None:
            ends_the_wait = [loading.task, loading.takes_longer]
            await asyncio.wait(ends_the_wait, timeout=_LOAD_PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        # Not set off again, where it failed.
        return self._reader_now()

    def start_loading(self) -> Loading | None:
        """Begin to take the collection into memory, unless it is there, on its way or must not be; the load, if so."""
        if not isinstance(self._state, InStore) or not self._load_rules.allowed:
            return None
        takes_longer = asyncio.get_running_loop().create_future()
        if self._load_rules.loads.locked():
            takes_longer.set_result(None)  # others come first
        loading = Loading(detached(self._load()), self._state.is_outgrown, takes_longer)
        self._become(loading)
        return loading

    def begin_empty(self) -> None:
        """The collection was just made: its index is complete at once."""
        if self._load_rules.allowed and isinstance(self._state, InStore):  # a searcher may have been quicker
            self._become(InMemory(CollectionIndex(self.info.dimensions)))

    def apply(self, change: IndexChange) -> None:
        """The store acknowledged a write: do it in memory, too."""
        match self._state:
            case InMemory(index):
                change(index)
                if index.is_worth_compacting:
                    self._begin_compacting(index)
            case Compacting(index, _, changes):
                change(index)
                changes.append(change)
            case Mapped(index):
                self._apply_to_mapped(index, change)
            case Loading(load=IndexLoad() as load):
                load.note(change)

    async def make_room(self, count: int) -> None:
        """Have room in memory for so many more documents; the caller holds the writer's lock. What an index holds is
        moved for that, which takes too long for the event loop."""
        index, mapped_index = self.index, self.mapped_index
        # To the end, even if the call is cancelled: nobody may write meanwhile, and then the lock is free.
        if index is not None and index.lacks_room(count):
            await self._threads.run_to_the_end("make_room", partial(index.make_room, count), index.drop_snapshot)
        elif mapped_index is not None:
            make_ready = partial(mapped_index.make_ready, count)
            try:
                await self._threads.run_to_the_end("make_room", make_ready, mapped_index.drop_snapshot)
            except OSError as error:
                self._give_up_file(error)

    def leave_memory(self) -> None:
        """Be read from the store from now on, for it takes too much. Of rows that were in memory as a whole, the next
        load brings ids, labels and a file of vectors, if they fit."""
        match self._state:
            case InMemory():
                self._become(InStore(is_outgrown=True))
            case Mapped():
                self._become(TooLarge())

    async def existing(self, document_ids: Sequence[str]) -> dict[str, ExistingRow]:
        """Those of these rows that exist, visible or not; for decisions about writes only."""
        if (index := self.index) is not None:
            return _existing_in_memory(index, document_ids)
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
        seen = await filter_visible(rows, self._cell.tenant_id, visibility, self._metrics)
        return {key: document.embedding for key, document in seen.visible.items() if document.embedding is not None}

    async def loaded(self) -> None:
        """Wait until a load or a compaction that goes on has ended, one way or another."""
        if isinstance(self._state, Loading | Compacting):
            await asyncio.wait([self._state.task])

    async def stop_loading(self) -> None:
        """Give up a load or a compaction that goes on."""
        while isinstance(going_on := self._state, Loading | Compacting):
            going_on.task.cancel()
            await asyncio.wait([going_on.task])
            self._end(going_on.task)  # where it had not even begun

    async def _load(self) -> None:
        # No name here may hold the state: a task that was cancelled holds its names, and whoever holds the task.
        try:
            async with self._load_rules.loads:
                assert isinstance(self._state, Loading)
                fits = partial(self._fits, is_outgrown=self._state.is_outgrown)
                load = IndexLoad(
                    self._cell,
                    self.info,
                    self._threads,
                    self._metrics,
                    self._let_readers_go_on,
                    vector_folder=self._load_rules.vector_folder,
                )
                self._become(replace(self._state, load=load))
                loaded = await load.run(fits, self._mapped_index_fits, limit_bytes=self._load_rules.limit_bytes)
                match loaded:
                    case CollectionIndex():
                        self._become(InMemory(loaded))
                    case MappedIndex():
                        self._become(Mapped(loaded))
                    case None:
                        self._become(TooLarge())
        except VecSecError as error:
            # Readers go on from the store, which tells them if it is beyond that, too.
            self._load_rules.observer.load_failed(self._cell.tenant_id, error)
        else:
            self._load_rules.observer.loaded(self._cell.tenant_id)
        finally:
            self._end(asyncio.current_task())

    def _apply_to_mapped(self, index: MappedIndex, change: IndexChange) -> None:
        try:
            change(index)
        except OSError as error:
            self._give_up_file(error)
            return
        is_half_gone = len(index) * 2 < self._known_rows  # of what was too much: the next load tries again
        if is_half_gone or index.is_worth_reloading:
            self._become(InStore(is_outgrown=not is_half_gone))

    def _give_up_file(self, error: OSError) -> None:
        """There is no room for the vectors on the disk: be read from the store. What is written is none the worse."""
        log.warning("no room for a file of vectors", tenant_id=self._cell.tenant_id, reason=error.strerror)
        if isinstance(self._state, Mapped):
            self._become(TooLarge())

    def _let_readers_go_on(self) -> None:
        if isinstance(self._state, Loading) and not self._state.takes_longer.done():
            self._state.takes_longer.set_result(None)

    def _become(self, state: State) -> None:
        follows = isinstance(state, MOVES[type(self._state)])
        assert follows, f"{type(state).__name__} does not follow {type(self._state).__name__}"
        self._state = state

    def _end(self, task: "asyncio.Task[None] | None") -> None:
        """A load or a compaction is over; where it brought nothing, all is as it was before."""
        match self._state:
            case Loading() as loading if loading.task is task:
                self._become(InStore(loading.is_outgrown))
            case Compacting() as compacting if compacting.task is task:
                self._become(InMemory(compacting.index))

    def _reader_now(self) -> CollectionReader:
        index = self.index
        return self._cold if index is None else MemoryReader(index, self._threads, self._load_rules.answers)

    def _begin_compacting(self, index: CollectionIndex, *, is_second: bool = False) -> None:
        self._become(Compacting(index, detached(self._compact(index, is_second=is_second))))

    async def _compact(self, index: CollectionIndex, *, is_second: bool) -> None:
        """Let an index without the dead rows take the place of this one; what is written meanwhile is done to both."""
        try:
            compacted = await self._threads.run("compact", index.compaction())
            assert isinstance(self._state, Compacting)
            while self._state.changes:
                self._state.changes.pop(0)(compacted)
                await asyncio.sleep(0)  # each may be as much as a batch holds
            self._become(InMemory(compacted))
            # What was written meanwhile left as many dead rows again, which would count against it now. Once only: a
            # collection that is being compacted does not leave memory, and who goes on writing could keep it so.
            if compacted.is_worth_compacting and not is_second:
                self._begin_compacting(compacted, is_second=True)
        except (LimitExceeded, RetrievalUnavailable):
            log.info("too busy to compact, the next write tries again", tenant_id=self._cell.tenant_id)
        finally:
            self._end(asyncio.current_task())
        self._load_rules.observer.compacted(self._cell.tenant_id)

    def _mapped_index_fits(self, rows: int) -> bool:
        return rows * MAPPED_BYTES_PER_ROW <= self._load_rules.limit_bytes // _MAPPED_INDEX_SHARE

    def _fits(self, rows: int, *, is_outgrown: bool) -> bool:
        self._known_rows = rows
        return not is_outgrown and rows * (self.info.dimensions * 9 + 2 * 1024) <= self._load_rules.limit_bytes


def _existing_in_memory(index: CollectionIndex, document_ids: Sequence[str]) -> dict[str, ExistingRow]:
    existing = {}
    for document_id in document_ids:
        document = index.find(document_id)
        if document is not None:
            existing[document_id] = ExistingRow(document.label, frozenset(document.metadata))
        elif document_id in index.untagged_ids:
            existing[document_id] = ExistingRow(None, frozenset())
    return existing
