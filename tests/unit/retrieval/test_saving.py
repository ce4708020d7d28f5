"""Snapshots are made beside the work: no write is lost by it, and no loop held."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from support.loop_watch import watched_loop
from support.waiting import until
from unit.retrieval.worlds import (
    DIMENSIONS,
    TENANT,
    World,
    add,
    collection_of,
    document,
    eyes,
    label,
    permit,
    upsert,
    world,
)

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.cells.open_collection import InMemory, OpenCollection
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.memory.snapshots import CollectionSnapshots
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.tagging import to_stored

ROWS = 1_200
"""So many are worth a snapshot."""


class HeldSnapshots:
    """Snapshots that are made when they are let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.permits = threading.Semaphore(0)
        of_moment = CollectionSnapshots.of_moment

        def held(*arguments: object) -> CollectionIndex:
            self.begun += 1
            assert self.permits.acquire(timeout=60)
            made: Callable[..., CollectionIndex] = of_moment
            return made(*arguments)

        monkeypatch.setattr(CollectionSnapshots, "of_moment", held)

    def have_begun(self, times: int) -> bool:
        return self.begun == times


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> HeldSnapshots:
    return HeldSnapshots(monkeypatch)


def rows(name: str = "d", count: int = ROWS) -> list[Document]:
    return [document(f"{name}{number}") for number in range(count)]


async def ids(collection: OpenCollection) -> list[str]:
    return await collection.reader().ids(eyes(permit()), after_id="", limit=10_000)


async def test_what_is_written_meanwhile_is_kept(store: FakeCellStore, snapshots: HeldSnapshots) -> None:
    async with world(store) as here:
        await add(here, TENANT, rows())
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            await until(partial(snapshots.have_begun, 1))
            assert collection.is_loading
            await add(here, TENANT, [document("new"), document("d1", text="changed")])
            assert cell is not None
            async with cell.writer:
                await cell.write(
                    "delete",
                    lambda: cell.cell.delete("documents", ["d0"]),
                    lambda position: collection.apply(IndexChange(position, deleted=["d0"])),
                )
            expected = sorted({f"d{number}" for number in range(1, ROWS)} | {"new"})
            assert await ids(collection) == expected, "readers need not wait"
            before = collection.index
            snapshots.permits.release()
            await collection.loaded()
            assert collection.index is not before
            assert collection.index is not None
            assert collection.index.base_rows == ROWS
            assert await ids(collection) == expected
            (changed,) = await collection.reader().get(["d1"], eyes(permit()))
            assert changed.text == "changed"
        snapshots.permits.release()


async def test_what_changed_much_meanwhile_is_saved_in_turn_but_once_only(
    store: FakeCellStore, snapshots: HeldSnapshots
) -> None:
    """A collection that is being saved does not leave memory, and who goes on writing could keep it so."""
    async with world(store) as here:
        await add(here, TENANT, rows())
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            for number in (1, 2):
                await until(partial(snapshots.have_begun, number))
                await add(here, TENANT, rows())
                await add(here, TENANT, rows())
                snapshots.permits.release()
                await until(partial(snapshots.have_begun, 2))
            await collection.loaded()
            assert collection.may_leave_memory
            index = collection.index
            assert index is not None
            assert index.changed_rows > ROWS, "the next write sees to it"
        snapshots.permits.release()


async def test_a_cell_that_closes_gives_it_up_and_saves_all_there_is(
    store: FakeCellStore, snapshots: HeldSnapshots
) -> None:
    async with world(store) as here:
        await add(here, TENANT, rows())
        await until(partial(snapshots.have_begun, 1))
        await add(here, TENANT, [document("new")])
        closing = asyncio.create_task(here.cells.close_one(TENANT))
        await until(partial(snapshots.have_begun, 1))
        snapshots.permits.release(2)
        await closing
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
            assert len(await ids(collection)) == ROWS + 1


@pytest.mark.parametrize(("count", "base_rows"), [(99, 0), (100, 100)])
async def test_a_cell_that_closes_saves_what_would_take_long_to_read(
    store: FakeCellStore, count: int, base_rows: int
) -> None:
    async with world(store) as here:
        await add(here, TENANT, rows(count=count))
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await collection.loaded()
        assert collection.index is not None
        assert (collection.index.base_rows, len(collection.index)) == (base_rows, count)


@pytest.mark.parametrize(("count", "base_rows"), [(99, 0), (100, 100)])
async def test_once_nobody_writes_what_came_later_is_saved(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch, count: int, base_rows: int
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._CALM_SECONDS", 0.05)
    async with world(store) as here:
        await add(here, TENANT, rows(count=count))
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            if base_rows:
                await until(lambda: collection.index is not None and collection.index.base_rows == base_rows)
            else:
                await asyncio.sleep(0.3)
                assert collection.index is not None
                assert collection.index.base_rows == 0
            assert len(await ids(collection)) == count


async def test_what_the_log_holds_beyond_a_snapshot_is_saved_without_a_write(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that failed once."""
    async with world(store) as here:
        await add(here, TENANT, rows(count=150))
    log = store.cells[TENANT].log
    assert log is not None
    for each in rows("later", 120):
        log.add("documents", each.document_id, to_stored(each))
    failures, of_moment = [RetrievalUnavailable("busy")], CollectionSnapshots.of_moment

    def fails_once(*arguments: object) -> CollectionIndex:
        if failures:
            raise failures.pop()
        made: Callable[..., CollectionIndex] = of_moment
        return made(*arguments)

    monkeypatch.setattr(CollectionSnapshots, "of_moment", fails_once)
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._CALM_SECONDS", 0.05)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await until(lambda: collection.index is not None and collection.index.base_rows == 270)
        assert not failures


async def test_a_snapshot_need_not_pass_over_what_came_to_other_collections(store: FakeCellStore) -> None:
    async def loaded(here: World) -> CollectionIndex:
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
            assert collection.index is not None
            return collection.index

    async with world(store) as here:
        await add(here, TENANT, rows(count=100))
    log = store.cells[TENANT].log
    assert log is not None
    for number in range(2_000):
        log.add("another", str(number), to_stored(document(str(number))))
    async with world(store) as here:
        assert (await loaded(here)).position == 100
    async with world(store) as here:
        assert (await loaded(here)).position == 2_100


async def test_saving_many_labels_does_not_hold_the_loop(store: FakeCellStore) -> None:
    def owned(number: int) -> Document:
        return document(f"d{number}", np.ones(DIMENSIONS, dtype=np.float32), label(owner=f"owner-{number}"))

    async with world(store) as here:
        await add(here, TENANT, rows(count=1))
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            index = CollectionIndex(DIMENSIONS)
            await asyncio.to_thread(upsert, index, [owned(number) for number in range(15_000)])
            collection._state = InMemory(index)

            async def delete() -> None:
                collection.apply(IndexChange(2, deleted=[f"d{number}" for number in range(4_000)]))

            with watched_loop(0.05) as watch:
                await asyncio.create_task(delete())
                await collection.loaded()
            assert not watch.held, str(watch)
            assert collection.rows_in_memory == 11_000
            assert collection.index is not index


async def test_where_there_is_no_room_all_goes_on_in_memory_and_it_is_tried_again_when_twice_as_much_has_changed(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.memory.snapshot_writer._BYTES_LEFT_FREE", 2**60)
    async with world(store) as here:
        await add(here, TENANT, rows("a"))
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            await collection.loaded()
            assert (collection.index is None, collection.rows_in_memory) == (False, ROWS)
            await add(here, TENANT, rows("b"))
            assert not collection.is_loading
            monkeypatch.setattr("vecsec_retrieval.memory.snapshot_writer._BYTES_LEFT_FREE", 0)
            await add(here, TENANT, [document("c")])
            await collection.loaded()
            assert collection.index is not None
            assert collection.index.base_rows == 2 * ROWS + 1
            assert len(await ids(collection)) == 2 * ROWS + 1
