"""A collection in use: in memory where this process alone writes to it and it fits, and in the store in any case.

What is in memory of it is one of five states, and `MOVES` says which follows which. Readers get the index of `InMemory`
and of `Saving`, in all other states the store: never a part of a load.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias

import structlog

from vecsec_chassis.background import detached
from vecsec_chassis.calls import time_remaining
from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable, VecSecError
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.memory.loading import IndexLoad, apply_in_slices
from vecsec_retrieval.memory.postings.word_counts import WordCounts
from vecsec_retrieval.memory.snapshots import CollectionSnapshots
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.filters import In
from vecsec_retrieval.model.rows import CollectionInfo, Document
from vecsec_retrieval.model.sources import SOURCE_KEY
from vecsec_retrieval.model.store import Cell, RowCondition
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import CollectionReader
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.label_table import LabelTable
from vecsec_retrieval.visibility.permissions import Visibility
from vecsec_retrieval.visibility.tagging import caller_metadata, from_stored
from vecsec_retrieval.visibility.visible_rows import filter_visible

_FEWEST_CHANGES_SAVED = 1_000
_CHANGED_SHARE = 0.25
"""Beyond so many changes, or such a share of the snapshot's rows, another snapshot is made."""
_LATER_ROWS_SHARE = 8
"""Or when later rows take so small a part of all memory."""
_CALM_SECONDS = 5.0
_CALM_CHANGED_SHARE = 0.05
"""Or so small a share, once nobody has written for so long: a scan of later rows shows in its time how many of them the
caller does not see (threat 23), for they do not lie together by label."""
_CHANGES_SAVED_AT_CLOSE = 100
"""Fewer are read from the log as soon as a snapshot is. In a calm they are not worth one, either."""
_TRY_AGAIN_SECONDS = 60.0
_MAPPED_FROM_BYTES = 1024 * 1024
"""Smaller snapshots are read, and need no file to be held open. More would be told from what a mapped one costs a
search: that a collection holds many rows which the caller does not see (threat 23)."""
_MAPPED_FROM_SHARE = 64
"""Unless that is more than so small a part of all memory."""
_LOAD_PATIENCE_SECONDS = 5.0
_LOAD_PATIENCE_SHARE = 0.5
"""So long a search waits for the collection to be in memory, and such a share of the time that it has left: to open a
snapshot takes some ms, and to ask the store for the nearest rows about as long as to make one."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ExistingRow:
    """What a writer has to know of a row that it is about to replace or remove."""

    label: Label | None
    """None if the row's tags are not whole, so that nobody may touch it."""
    metadata_keys: frozenset[str]


class LoadObserver(Protocol):
    """Is told how loads and snapshots end."""

    def loaded(self, tenant_id: str) -> None:
        """A collection of the tenant was read as a whole."""
        ...

    def saved(self, tenant_id: str) -> None:
        """A snapshot of a collection of the tenant took the place of what was in memory, or that was tried."""
        ...

    def load_failed(self, tenant_id: str, error: VecSecError) -> None:
        """A collection of the tenant could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class LoadRules:
    """Whether and how collections are taken into memory."""

    limit_bytes: int
    builds: asyncio.Semaphore
    """How many collections may be read from their log as a whole at the same time."""
    observer: LoadObserver
    answers: AnswerCache
    """What searches in memory found."""


@dataclass(frozen=True, slots=True)
class InStore:
    """Nothing is in memory, yet."""


@dataclass(frozen=True, slots=True)
class Loading:
    """The collection is being taken into memory."""

    task: "asyncio.Task[None]"
    load: IndexLoad | None = None
    """What is told of writes; None before it has begun, for what is written until then will be read."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """All rows are in memory, or in a file that is mapped into it."""

    index: CollectionIndex


@dataclass(frozen=True, slots=True)
class Saving:
    """All rows are in memory, and a snapshot of the living ones is being made."""

    index: CollectionIndex
    task: "asyncio.Task[None]"
    changes: list[IndexChange] = field(default_factory=list)
    """What was written since it began, to be done again."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The rows, or their labels, fit neither into memory nor, as a snapshot, on the disk."""

    until: float = 0
    """Of the monotonic clock: then it is tried again."""


State: TypeAlias = InStore | Loading | InMemory | Saving | TooLarge

MOVES: Mapping[type[State], tuple[type[State], ...]] = {
    InStore: (Loading, InMemory),  # at once, where it was just made
    Loading: (Loading, InMemory, TooLarge, InStore),  # it begins; it fits; it does not; it failed
    InMemory: (Saving, TooLarge, InStore),  # much was written; it takes too much; its snapshot is torn
    Saving: (InMemory,),
    TooLarge: (InStore,),
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
        self.catalogue = LabelCatalogue(cell, info.collection_id, threads, has_other_writers=cell.log is None)
        self._state: State = InStore()
        self._cell = cell
        self._threads = threads
        self._metrics = metrics
        self._load_rules = load_rules
        self._snapshots = (
            None
            if cell.log is None
            else CollectionSnapshots(
                cell.log,
                cell.tenant_id,
                info,
                metrics,
                mapped_from_bytes=min(_MAPPED_FROM_BYTES, load_rules.limit_bytes // _MAPPED_FROM_SHARE),
            )
        )
        self._changes_until_next_try = 0
        """So many rows have to change before another snapshot is tried, where there was no room for one."""
        self._calm: asyncio.TimerHandle | None = None
        """Comes when nobody has written for a while."""
        self._may_change_index = asyncio.Event()
        """Whether another index may take the place of the one that there is, or that is read."""
        self._may_change_index.set()
        self._is_closing = False
        self._cold = StoreReader(cell, info.collection_id, catalogue=self.catalogue, threads=threads, metrics=metrics)

    @property
    def index(self) -> CollectionIndex | None:
        """All rows, if they are in memory."""
        state = self._state  # once: it is asked for from any thread
        return state.index if isinstance(state, InMemory | Saving) else None

    @property
    def has_words(self) -> bool:
        """Whether it can be searched by words: wherever its rows are, for that is of the store's kind."""
        return self._snapshots is not None

    @property
    def approximate_bytes(self) -> int:
        """Memory that the collection takes here."""
        index = self.index
        return self.catalogue.approximate_bytes + (0 if index is None else index.approximate_bytes)

    @property
    def is_loading(self) -> bool:
        """Whether the collection is being taken into memory, or saved there."""
        return isinstance(self._state, Loading | Saving)

    @property
    def may_leave_memory(self) -> bool:
        """Whether rows are in memory, and are not just being saved."""
        return isinstance(self._state, InMemory)

    @property
    def is_known_empty(self) -> bool:
        """Whether it is in memory, and has no rows."""
        index = self.index
        return index is not None and not (len(index) or index.untagged_ids or index.is_torn)

    @property
    def rows_in_memory(self) -> int:
        """How many rows are in memory: all or none."""
        index = self.index
        return 0 if index is None else len(index)

    def reader(self) -> CollectionReader:
        """Reads from memory if the collection is there; otherwise from the store, while it is taken into memory."""
        self.start_loading()
        return self._reader_now()

    async def reader_after_load(self) -> CollectionReader:
        """As `reader`, but a load that goes on is waited for, unless it takes too long."""
        self.start_loading()
        if isinstance(self._state, Loading):
            remaining = time_remaining()
            patience = _LOAD_PATIENCE_SECONDS if remaining is None else remaining * _LOAD_PATIENCE_SHARE
            await asyncio.wait([self._state.task], timeout=patience)
        # Not set off again, where it failed.
        return self._reader_now()

    async def labels(self) -> LabelTable:
        """The labels of its rows, and perhaps of rows that are gone; whatever is in memory of it."""
        index = self.index
        return await self.catalogue.labels() if index is None else index.labels

    def start_loading(self) -> None:
        """Begin to take the collection into memory, unless it is there, on its way or must not be."""
        if isinstance(self._state, TooLarge) and time.monotonic() > self._state.until:
            self._changes_until_next_try = 0
            self._become(InStore())
        if isinstance(self._state, InStore) and self._snapshots is not None and not self._is_closing:
            self._become(Loading(detached(self._load(self._snapshots))))

    def begin_empty(self) -> None:
        """The collection was just made: its index is complete at once."""
        if self._snapshots is not None and isinstance(self._state, InStore):  # a searcher may have been quicker
            self._become(InMemory(CollectionIndex(self.info.dimensions)))

    def apply(self, change: IndexChange) -> None:
        """The store acknowledged a write: do it in memory, too."""
        match self._state:
            case InMemory(index):
                index.apply(change)
                self._save_if_worthwhile(index)
                self._wait_for_calm()
            case Saving(index, _, changes):
                index.apply(change)
                changes.append(change)
            case Loading(load=IndexLoad() as load):
                load.note(change)

    def add_words(self, words: Sequence[WordCounts]) -> None:
        """The store acknowledged documents with these words, which `apply` is told of next. It may run in the thread
        that wrote them."""
        if (index := self.index) is not None:
            index.add_words(words)

    async def make_room(self, count: int) -> None:
        """Have room in memory for so many more documents; the caller holds the writer's lock. What an index holds is
        moved for that, which takes too long for the event loop."""
        index = self.index
        # To the end, even if the call is cancelled: nobody may write meanwhile, and then the lock is free.
        if index is not None and index.lacks_room(count):
            await self._threads.run_to_the_end("make_room", partial(index.make_room, count), index.drop_moment)

    def leave_memory(self) -> None:
        """Be read from the store from now on, for it takes too much."""
        if isinstance(self._state, InMemory):
            self._become(TooLarge(time.monotonic() + _TRY_AGAIN_SECONDS))

    async def save(self) -> None:
        """Have what is in memory on the disk, where it would take long to read it from the log; nobody writes
        meanwhile, or later."""
        match self._state:
            case InMemory(index) if self._snapshots is not None and not index.is_torn:
                try:
                    await self._threads.run("make_snapshot", partial(_save, self._snapshots, self._cell, index))
                except OSError as error:
                    self._warn_of_no_room(error)

    async def existing(self, document_ids: Sequence[str]) -> dict[str, ExistingRow]:
        """Those of these rows that exist, visible or not; for decisions about writes only."""
        self._heal_if_torn()
        if (index := self.index) is not None and not index.is_torn:
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

    async def passages_of(self, source_ids: Collection[str]) -> dict[str, tuple[str, Label]]:
        """Source and label of each document that is a passage of one of these sources, visible or not; for decisions
        about writes only. The caller holds the writer's lock."""
        self.start_loading()
        await self.loaded()  # in the store, every row would have to be read
        self._heal_if_torn()
        if (index := self.index) is not None and not index.is_torn:
            moment = index.moment()
            moment.require_unchanged()
            rows = await self._threads.run("find_passages", lambda: index.sources.rows_of(moment, source_ids))
            return {
                moment.document_id(row): (source_id, moment.labels[moment.label_codes[row]])
                for row, source_id in rows.items()
            }
        condition = RowCondition(metadata=In(SOURCE_KEY, tuple(source_ids)))
        collection_id = self.info.collection_id
        ids = await self._threads.run("find_passages", lambda: self._cell.find_ids(collection_id, condition))
        rows_found = await self._threads.run("get", lambda: self._cell.get(collection_id, ids, with_embeddings=False))
        documents = (from_stored(row, self._cell.tenant_id) for row in rows_found)
        return {
            document.document_id: (str(document.metadata[SOURCE_KEY]), document.label)
            for document in documents
            if document is not None and document.metadata.get(SOURCE_KEY) in source_ids
        }

    async def embedded(self, document_ids: Sequence[str], visibility: Visibility) -> dict[str, Document]:
        """The visible documents with their embeddings, by id, each as it was stored: nothing is of another version."""
        rows = await self._threads.run(
            "get_embeddings", lambda: self._cell.get(self.info.collection_id, document_ids, with_embeddings=True)
        )
        seen = await filter_visible(rows, self._cell.tenant_id, visibility, self._metrics)
        return seen.visible

    async def loaded(self) -> None:
        """Wait until a load, or the making of a snapshot, has ended, one way or another."""
        if isinstance(self._state, Loading | Saving):
            await asyncio.wait([self._state.task])

    @asynccontextmanager
    async def same_index(self) -> AsyncIterator[None]:
        """Wait until no snapshot is being made, and begin none meanwhile, nor end a load; the caller holds the writer's
        lock. Very many rows that were found in one index would have to be looked up in another, all in one step."""
        while isinstance(saving := self._state, Saving):
            await asyncio.wait([saving.task])
        self._may_change_index.clear()
        try:
            yield
        finally:
            self._may_change_index.set()

    async def stop_loading(self) -> None:
        """Give up what `loaded` waits for, and begin no more of it, until `go_on`."""
        self._is_closing = True
        if self._calm is not None:
            self._calm.cancel()
        while isinstance(going_on := self._state, Loading | Saving):
            going_on.task.cancel()
            await asyncio.wait([going_on.task])
            self._end(going_on.task)  # where it had not even begun

    def go_on(self) -> None:
        """The collection stays after all."""
        self._is_closing = False
        self._wait_for_calm()

    async def _load(self, snapshots: CollectionSnapshots) -> None:
        # No name here may hold the state: a task that was cancelled holds its names, and whoever holds the task.
        try:
            assert isinstance(self._state, Loading)
            assert self._cell.log is not None
            load = IndexLoad(
                self._cell.log,
                self._cell.tenant_id,
                self.info.collection_id,
                snapshots,
                threads=self._threads,
                metrics=self._metrics,
                builds=self._load_rules.builds,
                may_end=self._may_change_index,
            )
            self._become(replace(self._state, load=load))
            index = await load.run(self._is_worth_saving, self._load_rules.limit_bytes)
            if index is None:
                self._become(TooLarge(time.monotonic() + _TRY_AGAIN_SECONDS))
            else:
                self._become(InMemory(index))
                self._save_if_worthwhile(index)
                self._wait_for_calm()  # what the log holds beyond the snapshot need not wait for a write
        except VecSecError as error:
            # Readers go on from the store, which tells them if it is beyond that, too.
            self._load_rules.observer.load_failed(self._cell.tenant_id, error)
        else:
            self._load_rules.observer.loaded(self._cell.tenant_id)
        finally:
            self._end(asyncio.current_task())

    def _become(self, state: State) -> None:
        follows = isinstance(state, MOVES[type(self._state)])
        assert follows, f"{type(state).__name__} does not follow {type(self._state).__name__}"
        self._state = state

    def _end(self, task: "asyncio.Task[None] | None") -> None:
        """A load or a snapshot's making is over; where it brought nothing, all is as it was before."""
        match self._state:
            case Loading() as loading if loading.task is task:
                self._become(InStore())
            case Saving() as saving if saving.task is task:
                self._become(InMemory(saving.index))

    def _reader_now(self) -> CollectionReader:
        self._heal_if_torn()
        index = self.index
        if index is None or index.is_torn:
            return self._cold
        return MemoryReader(index, self._threads, self._load_rules.answers)

    def _heal_if_torn(self) -> None:
        """Where a row of the snapshot is not what was written, make another from the log."""
        if self._snapshots is not None and isinstance(self._state, InMemory) and self._state.index.is_torn:
            self._snapshots.is_torn = True
            self._become(InStore())
            self.start_loading()

    def _is_worth_saving(self, index: CollectionIndex) -> bool:
        """Whether much of the index is not its snapshot's."""
        most_changes = max(_FEWEST_CHANGES_SAVED, index.base_rows * _CHANGED_SHARE, self._changes_until_next_try)
        is_large = index.later_bytes > self._load_rules.limit_bytes // _LATER_ROWS_SHARE
        return index.changed_rows > most_changes or (is_large and not self._changes_until_next_try)

    def _save_if_worthwhile(self, index: CollectionIndex, *, is_second: bool = False) -> None:
        if self._snapshots is not None and not index.is_torn and self._is_worth_saving(index):
            self._become(Saving(index, detached(self._save(self._snapshots, index, is_second=is_second))))

    def _wait_for_calm(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
        if not self._is_closing:
            self._calm = asyncio.get_running_loop().call_later(_CALM_SECONDS, self._save_in_calm)

    def _save_in_calm(self) -> None:
        if not self._may_change_index.is_set():
            self._wait_for_calm()
            return
        match self._state:
            case InMemory(index) if self._snapshots is not None and not index.is_torn:
                share = index.base_rows * _CALM_CHANGED_SHARE
                if index.changed_rows >= max(_CHANGES_SAVED_AT_CLOSE, share, self._changes_until_next_try):
                    self._become(Saving(index, detached(self._save(self._snapshots, index, is_second=True))))

    async def _save(self, snapshots: CollectionSnapshots, index: CollectionIndex, *, is_second: bool) -> None:
        """Let an index of a new snapshot take the place of this one; what is written meanwhile is done to both."""
        try:
            make = partial(snapshots.of_moment, index.moment(), index.position, frozenset(index.untagged_ids))
            saved = await self._threads.run("make_snapshot", make)
            assert isinstance(self._state, Saving)
            while self._state.changes:
                await apply_in_slices(saved, self._state.changes.pop(0))
            self._changes_until_next_try = 0
            self._become(InMemory(saved))
            # What was written meanwhile would count against it now. Once only: a collection that is being saved does
            # not leave memory, and who goes on writing could keep it so.
            if not is_second:
                self._save_if_worthwhile(saved, is_second=True)
            self._wait_for_calm()
        except OSError as error:
            self._warn_of_no_room(error)
            self._changes_until_next_try = 2 * index.changed_rows
            self._wait_for_calm()
        except (LimitExceeded, RetrievalUnavailable) as error:
            log.info("no snapshot this time", tenant_id=self._cell.tenant_id, reason=error.detail or error.message)
            self._wait_for_calm()
        finally:
            self._end(asyncio.current_task())
        self._load_rules.observer.saved(self._cell.tenant_id)

    def _warn_of_no_room(self, error: OSError) -> None:
        log.warning("no room for a snapshot", tenant_id=self._cell.tenant_id, reason=str(error))


def _save(snapshots: CollectionSnapshots, cell: Cell, index: CollectionIndex) -> None:
    assert cell.log is not None
    position = cell.log.position()
    if index.changed_rows >= _CHANGES_SAVED_AT_CLOSE:
        snapshots.of_moment(index.moment(), position, frozenset(index.untagged_ids))
    elif not index.changed_rows:
        snapshots.move_on(position)


def _existing_in_memory(index: CollectionIndex, document_ids: Sequence[str]) -> dict[str, ExistingRow]:
    existing = {}
    for document_id in document_ids:
        found = index.label_and_keys(document_id)
        if found is not None:
            existing[document_id] = ExistingRow(*found)
        elif document_id in index.untagged_ids:
            existing[document_id] = ExistingRow(None, frozenset())
    return existing
