"""Cells are opened once, lent, closed when they are in the way or broken, and never pulled away from a call."""

import asyncio
import gc
import weakref

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from support.waiting import until, until_all_wait
from unit.retrieval.worlds import DIMENSIONS, TENANT, Recorder, collection_of, document, eyes, permit, seed, world

from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable, StoreDamaged
from vecsec_retrieval.cells.open_cell import CellState, OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.search.memory_reader import MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.visibility.tagging import to_stored


async def test_many_calls_open_a_cell_once(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT)

    async def touch() -> None:
        async with here.cells.lease(TENANT) as cell:
            await collection_of(cell)

    async with world(store) as here:
        await asyncio.gather(*(touch() for _ in range(20)))
        assert recorder.operations.count("open") == 1
    assert recorder.operations.count("close") == 1


async def test_a_tenant_without_a_cell_is_lent_none(store: FakeCellStore) -> None:
    async with world(store) as here, here.cells.lease("nobody") as cell:
        assert cell is None
    assert store.cells == {}


async def test_least_recently_used_cells_are_closed(store: FakeCellStore) -> None:
    tenants = [f"tenant_{number}" for number in range(5)]
    seed(store, *tenants)
    one_awake_and_two_at_rest = 7 * 2**20 + 180_000
    closed = 0

    def count() -> None:
        nonlocal closed
        closed += 1

    async with world(store, limit_bytes=one_awake_and_two_at_rest) as here:
        here.metrics.count_closed_for_memory = count  # type: ignore[method-assign]
        for tenant_id in tenants:
            async with here.cells.lease(tenant_id):
                pass
        await until(lambda: list(here.cells._open) == tenants[-2:])
        assert closed == 3
        async with here.cells.lease(tenants[0]) as cell:
            await collection_of(cell)


async def test_what_a_closed_cell_held_in_memory_is_free_at_once(store: FakeCellStore) -> None:
    """Without the garbage collector, which the services let look for cycles that rarely (`service.py`)."""
    seed(store, TENANT)
    async with world(store) as here:
        held = await read_and_written(here.cells)
        gc.disable()
        try:
            await here.cells.close_one(TENANT)
            await until(lambda: [each() for each in held] == [None] * len(held))
        finally:
            gc.enable()


async def test_what_a_cell_closed_while_it_loaded_held_in_memory_is_free_at_once(
    store: FakeCellStore, recorder: Recorder
) -> None:
    seed(store, TENANT)
    recorder.held = {"answer of changes"}
    async with world(store) as here:
        held = await half_loaded(here.cells)
        gc.disable()
        try:
            await until(lambda: "answer of changes" in recorder.operations)
            closing = asyncio.create_task(here.cells.close_one(TENANT))
            await asyncio.sleep(0)
            recorder.go.set()
            await closing
            await until(lambda: [each() for each in held] == [None] * len(held))
        finally:
            gc.enable()


async def half_loaded(cells: OpenCells) -> list[weakref.ref[object]]:
    """What a cell of which a load has begun holds in memory."""
    async with cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        assert collection.is_loading
        return [weakref.ref(each) for each in (cell, collection, collection.catalogue)]


async def read_and_written(cells: OpenCells) -> list[weakref.ref[object]]:
    """What a cell that was used holds in memory."""
    async with cells.lease(TENANT, create=True) as cell:
        collection = await collection_of(cell)
        await collection.reader_after_load()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, MemoryReader)
        await reader.search(SearchOrder(direction(np.ones(DIMENSIONS, dtype=np.float32)), 1), eyes(permit()))
        assert cell is not None
        added = document("another")
        await cell.write(
            "upsert",
            lambda: cell.cell.upsert("documents", [to_stored(added)]),
            lambda position: collection.apply(IndexChange(position, upserted=[added])),
        )
        assert collection.rows_in_memory == 4
        return [weakref.ref(each) for each in (cell, collection, collection.catalogue, collection.index)]


async def test_a_cell_that_is_lent_stays_open_whatever_the_budget(store: FakeCellStore) -> None:
    seed(store, TENANT, "tenant_b", "tenant_c")
    async with world(store, limit_bytes=1) as here, here.cells.lease(TENANT) as cell:
        for other in ("tenant_b", "tenant_c"):
            async with here.cells.lease(other):
                pass
        await until(lambda: not store.cells["tenant_b"].is_open and not here.threads.waiting)
        assert store.cells[TENANT].is_open
        await collection_of(cell)


async def test_a_call_that_is_cancelled_while_a_cell_opens_loses_nothing(
    store: FakeCellStore, recorder: Recorder
) -> None:
    seed(store, TENANT)
    recorder.held = {"open"}
    async with world(store) as here:

        async def call() -> None:
            async with here.cells.lease(TENANT):
                pass

        task = asyncio.create_task(call())
        await until(lambda: "open" in recorder.operations)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        recorder.go.set()
        async with here.cells.lease(TENANT) as cell:
            await collection_of(cell)
        assert recorder.operations.count("open") == 1


async def test_a_damaged_cell_is_told_and_tried_again(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT, "tenant_b")
    async with world(store) as here:
        recorder.failures["open"] = StoreDamaged("damaged")
        for _ in range(2):
            with pytest.raises(StoreDamaged):
                async with here.cells.lease(TENANT):
                    pass
        assert here.cells.damaged == {TENANT}
        recorder.failures.clear()
        async with here.cells.lease("tenant_b") as cell:
            await collection_of(cell)
        assert here.cells.damaged == {TENANT}
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
        assert here.cells.damaged == frozenset()


async def test_damage_met_while_loading_closes_the_cell_and_shows(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT)
    async with world(store) as here:
        recorder.failures["changes"] = StoreDamaged("damaged")
        async with here.cells.lease(TENANT) as cell:
            (await collection_of(cell)).start_loading()
            await until(lambda: here.cells.damaged == {TENANT})
        recorder.failures.clear()
        async with here.cells.lease(TENANT) as again:
            assert again is not cell


@pytest.mark.parametrize("failure", [LimitExceeded("full"), RetrievalUnavailable("gone"), StoreDamaged("damaged")])
async def test_after_a_failed_write_memory_is_not_trusted(
    store: FakeCellStore, recorder: Recorder, failure: Exception
) -> None:
    seed(store, TENANT)
    async with world(store) as here:
        async with here.cells.lease(TENANT) as first:
            await collection_of(first)
        recorder.failures["upsert"] = failure

        async def write() -> None:
            async with here.cells.lease(TENANT) as cell:
                assert cell is first
                assert cell is not None
                async with cell.writer:
                    await cell.write("upsert", lambda: cell.cell.upsert("documents", []), lambda _: None)

        with pytest.raises(type(failure)):
            await write()
        recorder.failures.clear()
        async with here.cells.lease(TENANT) as second:
            assert second is not first
            assert (await collection_of(second)).approximate_bytes == 0


async def test_a_cell_is_never_open_twice(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT)
    recorder.held = {"close"}
    async with world(store) as here:
        async with here.cells.lease(TENANT) as cell:
            assert cell is not None
            cell.retire()
        await until(lambda: "close" in recorder.operations)

        async def again() -> OpenCell | None:
            async with here.cells.lease(TENANT) as reopened:
                return reopened

        waiting = asyncio.create_task(again())
        await until_all_wait()
        assert here.threads.waiting == 1, "the store is asked for nothing beside the closing"
        assert recorder.operations.count("open") == 1
        recorder.go.set()
        assert await waiting is not cell
        assert recorder.operations.count("open") == 2


async def test_a_closed_cell_is_read_anew_once_nobody_uses_it(store: FakeCellStore) -> None:
    seed(store, TENANT)
    async with world(store) as here:
        async with here.cells.lease(TENANT) as cell:
            (await collection_of(cell)).start_loading()
            await (await collection_of(cell)).loaded()
            assert cell is not None
            assert cell.rows_in_memory == 3
            before = cell
            closing = asyncio.create_task(here.cells.close_one(TENANT))
            await until(lambda: before.state is CellState.RETIRED)
            assert (await collection_of(cell)).rows_in_memory == 3, "a call that is under way keeps what it has"
            cell.cell.delete("documents", ["0"])  # behind our back
        await closing
        async with here.cells.lease(TENANT) as cell:
            assert cell is not before
            (await collection_of(cell)).start_loading()
            await (await collection_of(cell)).loaded()
            assert (await collection_of(cell)).rows_in_memory == 2
        await here.cells.close_one("of_whom_nobody_asked")


async def test_where_others_write_nothing_is_kept_in_memory() -> None:
    store = FakeCellStore(has_other_writers=True)
    seed(store, TENANT)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.begin_empty()
        collection.start_loading()
        await collection.loaded()
        assert not isinstance(collection.reader(), MemoryReader)


async def test_a_collection_that_another_program_removed_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeCellStore(has_other_writers=True)
    seed(store, TENANT)
    monkeypatch.setattr("vecsec_retrieval.cells.open_cell._FRESH_SECONDS", -1.0)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        await collection_of(cell)
        assert cell is not None
        del store.cells[TENANT].infos["documents"]
        assert await cell.collection("documents") is None


async def test_closing_waits_for_a_write_that_has_begun(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT)
    recorder.held = {"upsert"}
    done: list[str] = []
    async with world(store) as here:

        async def write() -> None:
            async with here.cells.lease(TENANT) as cell:
                assert cell is not None
                async with cell.writer:
                    await cell.write(
                        "upsert", lambda: cell.cell.upsert("documents", []), lambda _: done.append("written")
                    )

        task = asyncio.create_task(write())
        await until(lambda: "upsert" in recorder.operations)
        task.cancel()
        closing = asyncio.create_task(here.cells.aclose())
        await until_all_wait()
        assert here.threads.waiting == 1, "the store is asked for nothing beside the write"
        assert "close" not in recorder.operations
        recorder.go.set()
        await closing
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == ["written"]
    assert recorder.operations[-1] == "close"
