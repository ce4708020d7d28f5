"""Cells in memory are searched while the store's side of them is closed, and what needs the store opens it again."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from contract.fake_store import FakeCell, FakeCellStore
from support.waiting import until
from unit.retrieval.worlds import DIMENSIONS, TENANT, World, document, eyes, label, permit, world

from vecsec_chassis.domain.errors import RetrievalUnavailable, StoreDamaged
from vecsec_retrieval.cells import open_cells
from vecsec_retrieval.cells.resting_cell import RestingCell
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.rows import CollectionInfo
from vecsec_retrieval.search.memory_reader import STRATEGY
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.visibility.tagging import to_stored

INFO = CollectionInfo("documents", "external", DIMENSIONS)
TENANTS = [f"tenant_{number}" for number in range(6)]


def seed(store: FakeCellStore, *tenant_ids: str) -> None:
    for tenant_id in tenant_ids:
        cell = store.open(tenant_id, create=True)
        assert cell is not None
        cell.create_collection(INFO)


def awake(store: FakeCellStore) -> list[str]:
    return [tenant_id for tenant_id, cell in store.cells.items() if cell.is_open]


async def search(here: World, tenant_id: str) -> SearchAnswer:
    async with here.cells.lease(tenant_id) as cell:
        assert cell is not None
        collection = await cell.collection("documents")
        assert collection is not None
        await collection.loaded()
        reader = await collection.reader_after_load()
        return await reader.search(SearchOrder(direction(np.ones(DIMENSIONS, dtype=np.float32)), 3), eyes(permit()))


async def collections(here: World, tenant_id: str) -> int:
    async with here.cells.lease(tenant_id) as cell:
        assert cell is not None
        return len(await cell.collections())


async def test_more_tenants_are_in_memory_than_are_open_in_the_store() -> None:
    store = FakeCellStore()
    seed(store, *TENANTS)
    async with world(store, most_awake=2) as here:
        for tenant_id in TENANTS:
            await search(here, tenant_id)
        await until(lambda: len(awake(store)) <= 2)
        resting = set(TENANTS) - set(awake(store))
        calls: list[str] = []
        store.before = calls.append
        answers = [await search(here, tenant_id) for tenant_id in resting]
        assert [answer.strategy for answer in answers] == [STRATEGY] * len(resting)
        assert calls == []
    assert awake(store) == []


async def test_cells_that_readers_wake_are_put_to_rest_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeCellStore()
    seed(store, *TENANTS)
    async with world(store, most_awake=2) as here:
        for tenant_id in TENANTS:
            await search(here, tenant_id)
        await until(lambda: len(awake(store)) <= 2)
        monkeypatch.setattr(open_cells, "_BUDGET_DELAY_SECONDS", 3.0)  # a busy machine reads them all in less
        for tenant_id in TENANTS:
            await collections(here, tenant_id)
        assert len(awake(store)) > 2, "nothing keeps a reader from its answer"
        await until(lambda: len(awake(store)) <= 2)


async def test_a_write_wakes_its_cell_and_is_found_at_once() -> None:
    store = FakeCellStore()
    seed(store, *TENANTS)
    async with world(store, most_awake=1) as here:
        for tenant_id in TENANTS:
            await search(here, tenant_id)
        await until(lambda: len(awake(store)) <= 1)
        [resting, *_] = set(TENANTS) - set(awake(store))
        async with here.cells.lease(resting) as cell:
            assert cell is not None
            collection = await cell.collection("documents")
            assert collection is not None
            new = document("new", of=label(tenant_id=resting))
            async with cell.writer:
                await cell.write(
                    "upsert",
                    lambda: cell.cell.upsert("documents", [to_stored(new)]),
                    lambda position: collection.apply(IndexChange(position, upserted=[new])),
                )
        [found] = (await search(here, resting)).results
        assert found.document.document_id == "new"
        assert set(store.cells[resting].rows["documents"]) == {"new"}


async def test_memory_that_others_need_is_first_taken_from_the_store_then_from_rows() -> None:
    store = FakeCellStore()
    seed(store, *TENANTS)
    async with world(store, limit_bytes=8 * 2**20, most_awake=100) as here:
        for tenant_id in TENANTS:
            await search(here, tenant_id)
        await until(lambda: len(awake(store)) <= 1)
        calls: list[str] = []
        store.before = calls.append
        for tenant_id in TENANTS:
            await search(here, tenant_id)
        assert calls == []


async def test_a_cell_that_is_gone_while_it_rests_is_damaged_and_not_made_anew() -> None:
    store = FakeCellStore()
    seed(store, TENANT, "tenant_b")
    async with world(store, most_awake=1) as here:
        await search(here, TENANT)
        await search(here, "tenant_b")
        await until(lambda: awake(store) == ["tenant_b"])
        del store.cells[TENANT]
        with pytest.raises(StoreDamaged):
            await collections(here, TENANT)
        await until(lambda: TENANT in here.cells.damaged)
        async with here.cells.lease(TENANT) as cell:
            assert cell is None


def test_calls_and_rests_at_the_same_time_never_meet() -> None:
    opened: list[FakeCell] = []
    lock = threading.Lock()

    def reopen() -> FakeCell:
        with lock:
            assert not any(cell.is_open for cell in opened), "open twice"
            opened.append(FakeCell(TENANT, lambda _operation: None))
            return opened[-1]

    cell = RestingCell(reopen(), reopen)

    def work(number: int) -> None:
        if number % 3:
            cell.collections()
        else:
            cell.rest()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(3_000)))
    assert len(opened) > 1
    cell.close()
    assert not any(each.is_open for each in opened)
    with pytest.raises(RetrievalUnavailable):
        cell.collections()
    assert not cell.is_awake


async def test_a_call_in_the_store_keeps_it_open() -> None:
    begun, go = threading.Event(), threading.Event()

    def before(operation: str) -> None:
        if operation == "collections":
            begun.set()
            assert go.wait(60)

    fake = FakeCell(TENANT, before)
    cell = RestingCell(fake, lambda: fake)
    call = asyncio.create_task(asyncio.to_thread(cell.collections))
    assert await asyncio.to_thread(begun.wait, 60)
    cell.rest()
    assert cell.is_awake
    go.set()
    await call
    cell.rest()
    assert not cell.is_awake


async def test_a_cell_is_not_closed_under_a_call_in_the_store() -> None:
    """Its directory could be opened a second time, by whoever comes next."""
    begun, go = threading.Event(), threading.Event()

    def before(operation: str) -> None:
        if operation == "collections":
            begun.set()
            assert go.wait(60)

    fake = FakeCell(TENANT, before)
    cell = RestingCell(fake, lambda: fake)
    call = asyncio.create_task(asyncio.to_thread(cell.collections))
    assert await asyncio.to_thread(begun.wait, 60)
    closing = asyncio.create_task(asyncio.to_thread(cell.close))

    def is_closing() -> bool:
        with cell._lock:  # free while it waits for the call
            return cell._is_closed

    await until(is_closing)
    assert fake.is_open
    with pytest.raises(RetrievalUnavailable):  # nobody else comes in meanwhile
        await asyncio.to_thread(cell.collections)
    go.set()
    await call
    await closing
    assert not fake.is_open


async def test_a_call_in_the_store_that_never_ends_does_not_hold_its_tenant_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.resting_cell._CLOSING_SECONDS", 0.05)
    begun, go = threading.Event(), threading.Event()

    def before(operation: str) -> None:
        if operation == "collections":
            begun.set()
            assert go.wait(60)

    fake = FakeCell(TENANT, before)
    cell = RestingCell(fake, lambda: fake)
    call = asyncio.create_task(asyncio.to_thread(cell.collections))
    assert await asyncio.to_thread(begun.wait, 60)
    with pytest.raises(RetrievalUnavailable, match="busy"):
        await asyncio.to_thread(cell.close)
    go.set()
    await call


async def test_the_last_one_stays_awake_whatever_it_takes() -> None:
    store = FakeCellStore()
    seed(store, TENANT)
    async with world(store, limit_bytes=2) as here:
        await search(here, TENANT)
        calls: list[str] = []
        store.before = calls.append
        for _ in range(3):
            await search(here, TENANT)
            await until(lambda: here.cells._settling is None)
        assert "open" not in calls
