"""Cells are opened once, lent, closed when they are in the way or broken, and never pulled away from a call."""

import asyncio
import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.worlds import DIMENSIONS, TENANT, World, document, eyes, permit, until, world

from vecsec_chassis.errors import LimitExceeded, RetrievalUnavailable, StoreDamaged
from vecsec_retrieval.hot_reader import HotReader
from vecsec_retrieval.index import CollectionIndex
from vecsec_retrieval.open_cell import OpenCell
from vecsec_retrieval.open_cells import OpenCells
from vecsec_retrieval.open_collection import OpenCollection
from vecsec_retrieval.readers import SearchOrder
from vecsec_retrieval.rows import CollectionInfo, Document
from vecsec_retrieval.tagging import to_stored
from vecsec_retrieval.vectors import direction

INFO = CollectionInfo("documents", "external", DIMENSIONS)


class Recorder:
    """Notes operations, and can hold one up or fail it."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.held: set[str] = set()
        self.go = threading.Event()

    def __call__(self, operation: str) -> None:
        self.operations.append(operation)
        if operation in self.failures:
            raise self.failures[operation]
        if operation in self.held:
            assert self.go.wait(10)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def store(recorder: Recorder) -> FakeCellStore:
    fake = FakeCellStore()
    fake.before = recorder
    return fake


def seed(store: FakeCellStore, *tenant_ids: str, rows: int = 3) -> None:
    before, store.before = store.before, lambda _operation: None
    for tenant_id in tenant_ids:
        cell = store.open(tenant_id, create=True)
        assert cell is not None
        cell.create_collection(INFO)
        documents = [document(str(number)) for number in range(rows)]
        cell.upsert("documents", [to_stored(each) for each in documents])
    store.before = before


async def collection_of(cell: OpenCell | None) -> OpenCollection:
    assert cell is not None
    collection = await cell.collection("documents")
    assert collection is not None
    return collection


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
    async with world(store, limit_bytes=one_awake_and_two_at_rest) as here:
        for tenant_id in tenants:
            async with here.cells.lease(tenant_id):
                pass
        await until(lambda: list(here.cells._open) == tenants[-2:])
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


async def read_and_written(cells: OpenCells) -> list[weakref.ref[object]]:
    """What a cell that was used holds in memory."""
    async with cells.lease(TENANT, create=True) as cell:
        collection = await collection_of(cell)
        await collection.prompt_reader()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, HotReader)
        await reader.search(SearchOrder(direction(np.ones(DIMENSIONS, dtype=np.float32)), 1), eyes(permit()))
        assert cell is not None
        added = document("another")
        await cell.write(
            "upsert",
            lambda: cell.cell.upsert("documents", [to_stored(added)]),
            lambda: collection.apply(lambda index: index.upsert([added])),
        )
        assert collection.hot_rows == 4
        return [weakref.ref(each) for each in (cell, collection, collection.catalogue, collection._index)]


async def test_a_cell_that_is_lent_stays_open_whatever_the_budget(store: FakeCellStore) -> None:
    seed(store, TENANT, "tenant_b", "tenant_c")
    async with world(store, limit_bytes=1) as here, here.cells.lease(TENANT) as cell:
        for other in ("tenant_b", "tenant_c"):
            async with here.cells.lease(other):
                pass
        await asyncio.sleep(0.05)
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
            collection.warm()
            await collection.loaded()
        assert here.cells.damaged == frozenset()


async def test_damage_met_while_loading_closes_the_cell_and_shows(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT)
    async with world(store) as here:
        recorder.failures["head"] = StoreDamaged("damaged")
        async with here.cells.lease(TENANT) as cell:
            (await collection_of(cell)).warm()
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
                    await cell.write("upsert", lambda: cell.cell.upsert("documents", []), lambda: None)

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
            cell.must_close = True
        await until(lambda: "close" in recorder.operations)

        async def again() -> OpenCell | None:
            async with here.cells.lease(TENANT) as reopened:
                return reopened

        waiting = asyncio.create_task(again())
        await asyncio.sleep(0.05)
        assert recorder.operations.count("open") == 1
        recorder.go.set()
        assert await waiting is not cell
        assert recorder.operations.count("open") == 2


@pytest.mark.parametrize("reading", ["head", "find_ids", "get"])
async def test_a_collection_is_taken_into_memory_while_it_is_written_to(
    store: FakeCellStore, recorder: Recorder, reading: str
) -> None:
    seed(store, TENANT, rows=1_200)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert cell is not None
        recorder.held = {reading}
        assert not isinstance(collection.reader(), HotReader)
        await until(lambda: reading in recorder.operations)
        changed = [document("new"), document("5", text="changed")]

        def write() -> None:
            cell.cell.upsert("documents", [to_stored(each) for each in changed])
            cell.cell.delete("documents", ["7"])

        async with cell.writer:
            await cell.write("upsert", write, lambda: collection.apply(lambda index: index.upsert(changed)))
            collection.apply(lambda index: index.delete(["7"]))
        recorder.go.set()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, HotReader)
        assert await reader.count(eyes(permit())) == 1_200
        found = {each.document_id: each.text for each in await reader.get(["new", "5", "7"], eyes(permit()))}
        assert found == {"new": "text of new", "5": "changed"}
        assert collection.approximate_bytes > 1_200 * DIMENSIONS * 4


async def test_whoever_comes_first_waits_for_a_small_collection(
    store: FakeCellStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.open_collection._LOAD_PATIENCE_SECONDS", 10)
    seed(store, TENANT, rows=200)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        reader = await (await collection_of(cell)).prompt_reader()
        assert isinstance(reader, HotReader)
        assert await reader.count(eyes(permit())) == 200
    assert not {"find_ids", "get"} & set(recorder.operations)  # one question to the store is enough


async def test_nobody_waits_until_a_large_collection_is_in_memory(
    store: FakeCellStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.open_collection._LOAD_PATIENCE_SECONDS", 600)
    seed(store, TENANT, rows=201)
    recorder.held = {"find_ids"}
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert not isinstance(await collection.prompt_reader(), HotReader)
        assert collection.is_loading
        recorder.go.set()
        await collection.loaded()
        assert collection.hot_rows == 201


async def test_nobody_waits_where_others_load_first(
    store: FakeCellStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.open_collection._LOAD_PATIENCE_SECONDS", 600)
    seed(store, TENANT, "tenant_b", "tenant_c")
    recorder.held = {"head"}
    async with world(store) as here:
        for first in ("tenant_b", "tenant_c"):
            async with here.cells.lease(first) as cell:
                (await collection_of(cell)).warm()
        await until(lambda: recorder.operations.count("head") == 2)
        async with here.cells.lease(TENANT) as cell:
            assert not isinstance(await (await collection_of(cell)).prompt_reader(), HotReader)
        recorder.go.set()


async def test_a_load_that_failed_is_not_set_off_again_by_the_same_search(
    store: FakeCellStore, recorder: Recorder
) -> None:
    seed(store, TENANT)
    recorder.failures["head"] = RetrievalUnavailable("gone")
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        assert not isinstance(await (await collection_of(cell)).prompt_reader(), HotReader)
        assert recorder.operations.count("head") == 1


async def test_what_is_written_while_a_small_collection_is_read_is_done_again(
    store: FakeCellStore, recorder: Recorder
) -> None:
    """The rows that were read are older than the writes."""
    seed(store, TENANT, rows=10)
    recorder.held = {"answer of head"}
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.warm()
        await until(lambda: "answer of head" in recorder.operations)
        assert cell is not None
        changed = [document("new"), document("5", text="changed")]

        def write() -> None:
            cell.cell.upsert("documents", [to_stored(each) for each in changed])
            cell.cell.delete("documents", ["7"])

        async with cell.writer:
            await cell.write("upsert", write, lambda: collection.apply(lambda index: index.upsert(changed)))
            collection.apply(lambda index: index.delete(["7"]))
        recorder.go.set()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, HotReader)
        found = {each.document_id: each.text for each in await reader.get(["new", "5", "7"], eyes(permit()))}
        assert found == {"new": "text of new", "5": "changed"}


async def add(here: World, tenant_id: str, documents: list[Document]) -> None:
    async with here.cells.lease(tenant_id, create=True) as cell:
        assert cell is not None
        async with cell.writer:
            collection = await cell.collection("documents")
            if collection is None:
                collection = await cell.create_collection(INFO)
                collection.begin_empty()
            written = collection
            written.catalogue.add(written.catalogue.missing_entries(documents))
            await cell.write(
                "upsert",
                lambda: cell.cell.upsert("documents", [to_stored(each) for each in documents]),
                lambda: written.apply(lambda index: index.upsert(documents)),
            )


async def test_a_collection_that_grows_beyond_all_memory_leaves_it(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for batch in range(10):
            await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
            async with here.cells.lease(TENANT) as cell:
                assert cell is not None
                assert cell.bytes_at_rest <= 4_000_000
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            assert not isinstance(await collection.prompt_reader(), HotReader)
            await collection.loaded()
            assert collection.hot_rows == 0
            reader = collection.reader()
            assert not isinstance(reader, HotReader)
            assert await reader.count(eyes(permit())) == 10_000


async def test_what_fits_once_it_is_compacted_stays(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for _ in range(3):  # the same rows: one of three times is alive
            for batch in range(4):
                await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            await collection.loaded()
            assert collection.hot_rows == 4_000
            assert isinstance(collection.reader(), HotReader)


async def test_what_outgrew_memory_comes_back_when_half_of_it_is_gone(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for batch in range(10):
            await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
        async with here.cells.lease(TENANT) as cell:
            assert cell is not None
            collection = await collection_of(cell)
            collection.warm()
            await collection.loaded()
            assert collection.roster is not None
            doomed = [f"{batch}-{row}" for batch in range(9) for row in range(1_000)]
            async with cell.writer:
                await cell.write(
                    "delete",
                    lambda: cell.cell.delete("documents", doomed),
                    lambda: collection.apply(lambda rows: rows.delete(doomed)),
                )
            collection.warm()
            await collection.loaded()
            assert collection.hot_rows == 1_000
            assert collection.roster is None


async def test_room_is_made_to_the_end_even_if_the_call_is_cancelled(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the lock would be free, and what the next one writes be moved away."""
    seed(store, TENANT)
    begun, go = threading.Event(), threading.Event()

    def make_room(_index: CollectionIndex, _more: int) -> None:
        begun.set()
        assert go.wait(10)

    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.warm()
        await collection.loaded()
        monkeypatch.setattr(CollectionIndex, "make_room", make_room)
        making = asyncio.create_task(collection.make_room(1_000))
        await asyncio.to_thread(begun.wait, 10)
        making.cancel()
        await asyncio.sleep(0.05)
        assert not making.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await making


async def test_a_collection_that_a_searcher_found_first_is_loaded_and_not_begun_anew(
    store: FakeCellStore, recorder: Recorder
) -> None:
    recorder.held = {"answer of head"}
    async with world(store) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        cell.cell.create_collection(INFO)
        collection = await collection_of(cell)
        collection.warm()
        await until(lambda: "answer of head" in recorder.operations)
        collection.begin_empty()
        written = [document("first")]
        async with cell.writer:
            await cell.write(
                "upsert",
                lambda: cell.cell.upsert("documents", [to_stored(each) for each in written]),
                lambda: collection.apply(lambda index: index.upsert(written)),
            )
        recorder.go.set()
        await collection.loaded()
        assert collection.hot_rows == 1


async def test_texts_that_are_too_large_for_memory_throw_nobody_out(store: FakeCellStore) -> None:
    others = ["tenant_b", "tenant_c"]
    seed(store, *others)
    async with world(store, limit_bytes=20_000_000) as here:
        for other in others:
            async with here.cells.lease(other) as cell:
                (await collection_of(cell)).warm()
        seed_texts(store, rows=50, characters=1_000_000)
        for _ in range(2):
            async with here.cells.lease(TENANT) as cell:
                collection = await collection_of(cell)
                collection.warm()
                await collection.loaded()
                assert collection.hot_rows == 0
                assert collection.roster is not None
                assert len(collection.roster) == 50
        assert set(others) <= set(here.cells._open)


def seed_texts(store: FakeCellStore, rows: int, characters: int) -> None:
    cell = store.open(TENANT, create=True)
    assert cell is not None
    cell.create_collection(INFO)
    cell.upsert("documents", [to_stored(document(str(row), text="x" * characters)) for row in range(rows)])


async def test_of_a_tenants_collections_the_largest_leaves_memory(store: FakeCellStore) -> None:
    seed_texts(store, rows=300, characters=2_000)
    cell = store.cells[TENANT]
    cell.create_collection(replace(INFO, collection_id="more"))
    cell.upsert("more", [to_stored(document(str(number), text="x" * 2_000)) for number in range(250)])
    async with world(store, limit_bytes=900_000) as here, here.cells.lease(TENANT) as lent:
        assert lent is not None
        both = await lent.collections()
        for collection in both:
            collection.warm()
            await collection.loaded()
        assert sorted(collection.hot_rows for collection in both) == [0, 250]
        assert lent.bytes_at_rest <= 900_000


async def test_a_collection_that_would_not_fit_stays_in_the_store(store: FakeCellStore) -> None:
    seed(store, TENANT, rows=50)
    async with world(store, limit_bytes=1_000) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.warm()
        await collection.loaded()
        assert not isinstance(collection.reader(), HotReader)
        order = SearchOrder(direction(np.ones(DIMENSIONS, dtype=np.float32)), 5)
        catalogued = [document(str(number)) for number in range(50)]
        collection.catalogue.add(collection.catalogue.missing_entries(catalogued))
        assert len((await collection.reader().search(order, eyes(permit()))).results) == 5


async def test_a_closed_cell_is_read_anew_once_nobody_uses_it(store: FakeCellStore) -> None:
    seed(store, TENANT)
    async with world(store) as here:
        async with here.cells.lease(TENANT) as cell:
            (await collection_of(cell)).warm()
            await (await collection_of(cell)).loaded()
            assert cell is not None
            assert cell.hot_rows == 3
            before = cell
            closing = asyncio.create_task(here.cells.close_one(TENANT))
            await until(lambda: before.must_close)
            assert (await collection_of(cell)).hot_rows == 3, "a call that is under way keeps what it has"
            cell.cell.delete("documents", ["0"])  # behind our back
        await closing
        async with here.cells.lease(TENANT) as cell:
            assert cell is not before
            (await collection_of(cell)).warm()
            await (await collection_of(cell)).loaded()
            assert (await collection_of(cell)).hot_rows == 2
        await here.cells.close_one("of_whom_nobody_asked")


async def test_where_others_write_nothing_is_kept_in_memory() -> None:
    store = FakeCellStore(has_other_writers=True)
    seed(store, TENANT)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.begin_empty()
        collection.warm()
        await collection.loaded()
        assert not isinstance(collection.reader(), HotReader)


async def test_a_collection_that_another_program_removed_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeCellStore(has_other_writers=True)
    seed(store, TENANT)
    monkeypatch.setattr("vecsec_retrieval.open_cell._FRESH_SECONDS", -1.0)
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
                        "upsert", lambda: cell.cell.upsert("documents", []), lambda: done.append("written")
                    )

        task = asyncio.create_task(write())
        await until(lambda: "upsert" in recorder.operations)
        task.cancel()
        closing = asyncio.create_task(here.cells.aclose())
        await asyncio.sleep(0.05)
        assert "close" not in recorder.operations
        recorder.go.set()
        await closing
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == ["written"]
    assert recorder.operations[-1] == "close"
