"""Takes a collection into memory, in the background, while others go on reading and writing: the rows of its snapshot,
and what its log holds beyond that."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from vecsec_retrieval.memory.index import CollectionIndex, IndexChange, in_slices
from vecsec_retrieval.memory.snapshots import CollectionSnapshots
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.model.store import Change, ChangeLog
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.tagging import from_stored

log = structlog.get_logger()

_FIRST_CHANGES = 1_000
"""Read together with the snapshot."""
_CHANGES_A_PAGE = 500
_BYTES_A_PAGE = 8 * 1024 * 1024


class IndexLoad:
    """One attempt to load a collection.

    Writes that are acknowledged meanwhile are noted and done again at the end, in their order. As each replaces or
    removes whole rows, it does not matter which of them were read from the log already.
    """

    def __init__(
        self,
        change_log: ChangeLog,
        tenant_id: str,
        collection_id: str,
        snapshots: CollectionSnapshots,
        *,
        threads: StoreThreads,
        metrics: RetrievalMetrics,
        builds: asyncio.Semaphore,
        may_end: asyncio.Event,
    ) -> None:
        """Of the collections that are read from the log as a whole, no more go on than `builds` has room for. The load
        does not end before it `may_end`."""
        self._may_end = may_end
        self._builds = builds
        self._log = change_log
        self._tenant_id = tenant_id
        self._collection_id = collection_id
        self._snapshots = snapshots
        self._threads = threads
        self._metrics = metrics
        self._changes: list[IndexChange] = []
        self._is_given_up = threading.Event()

    def note(self, change: IndexChange) -> None:
        """A write was acknowledged while the load goes on."""
        self._changes.append(change)

    async def run(
        self, is_worth_a_snapshot: Callable[[CollectionIndex], bool], limit_bytes: int
    ) -> CollectionIndex | None:
        """The complete index; None if it takes more than `limit_bytes`."""
        try:
            return await self._run(is_worth_a_snapshot, limit_bytes)
        finally:
            self._is_given_up.set()  # what goes on in a thread has nobody who waits for it

    async def _run(
        self, is_worth_a_snapshot: Callable[[CollectionIndex], bool], limit_bytes: int
    ) -> CollectionIndex | None:
        index, is_complete = await self._threads.run("load_snapshot", self._begin)
        may_make_snapshot = True
        while not is_complete or index.approximate_bytes > limit_bytes:
            if may_make_snapshot and (is_worth_a_snapshot(index) or is_complete):
                index, may_make_snapshot = await self._of_log(index), False
            elif index.approximate_bytes > limit_bytes:
                return None
            is_complete = await self._threads.run("load_changes", partial(self._catch_up, index, _CHANGES_A_PAGE))
        while self._changes or not self._may_end.is_set():
            if self._changes:
                await apply_in_slices(index, self._changes.pop(0))
            else:
                await self._may_end.wait()
        self._metrics.count_untagged(len(index.untagged_ids))
        return index

    def _begin(self) -> tuple[CollectionIndex, bool]:
        index = self._snapshots.index()
        return index, self._catch_up(index, _FIRST_CHANGES)

    async def _of_log(self, index: CollectionIndex) -> CollectionIndex:
        """An index of all that the log holds, by a snapshot; the one that there is, where there is no room for one."""
        try:
            async with self._builds:
                return await self._threads.run("make_snapshot", partial(self._snapshots.of_log, self._is_given_up))
        except OSError as error:
            log.warning("no room for a snapshot", tenant_id=self._tenant_id, reason=str(error))
            return index

    def _catch_up(self, index: CollectionIndex, most: int) -> bool:
        """Do what the log holds beyond the index, at most so many changes; whether that is all.

        Nobody else knows the index yet, so that a thread may fill it.
        """
        read, before = 0, index.later_bytes
        while read < most and index.later_bytes - before < _BYTES_A_PAGE:
            changes = self._log.changes(self._collection_id, after=index.position, limit=most - read)
            if not changes:
                return True
            index.apply(index_change(changes, self._tenant_id))
            read += len(changes)
        return False


async def apply_in_slices(index: CollectionIndex, change: IndexChange) -> None:
    """Do in an index that nobody reads yet what was written meanwhile, which may be 100,000 rows: others go on."""
    for part in in_slices(change):
        index.apply(part)
        await asyncio.sleep(0)


def index_change(changes: Sequence[Change], tenant_id: str) -> IndexChange:
    """What these changes leave, as one: the last word on each row counts."""
    latest = {change.document_id: change.row for change in changes}
    documents: list[Document] = []
    deleted, untagged = [], []
    for document_id, row in latest.items():
        document = None if row is None else from_stored(row, tenant_id)
        if row is None:
            deleted.append(document_id)
        elif document is None:
            untagged.append(document_id)
        else:
            documents.append(document)
    return IndexChange(changes[-1].position, documents, deleted, untagged)
