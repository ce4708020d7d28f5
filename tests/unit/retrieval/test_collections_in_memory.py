"""Collections are taken into memory and kept there while they fit, whatever is written meanwhile."""

import asyncio
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from support.waiting import until, until_all_wait
from unit.retrieval.worlds import (
    DIMENSIONS,
    INFO,
    TENANT,
    Recorder,
    World,
    add,
    collection_of,
    document,
    eyes,
    permit,
    seed,
    world,
)

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.cells.open_collection import MOVES, InMemory, InStore, OpenCollection, State, TooLarge
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.search.memory_reader import MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.visibility.tagging import to_stored


def test_each_state_says_what_follows_it_and_all_but_the_first_are_reached() -> None:
    assert set(MOVES) == set(get_args(State))
    assert {InStore} | {state for states in MOVES.values() for state in states} == set(MOVES)


async def test_no_state_follows_but_those_that_may(store: FakeCellStore) -> None:
    seed(store, TENANT)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        with pytest.raises(AssertionError, match="TooLarge does not follow InStore"):
            collection._become(TooLarge())
        collection._become(InMemory(CollectionIndex(DIMENSIONS)))
        assert collection.index is not None


@pytest.mark.parametrize("reading", ["head", "find_ids", "get"])
async def test_a_collection_is_taken_into_memory_while_it_is_written_to(
    store: FakeCellStore, recorder: Recorder, reading: str
) -> None:
    seed(store, TENANT, rows=1_200)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert cell is not None
        recorder.held = {reading}
        assert not isinstance(collection.reader(), MemoryReader)
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
        assert isinstance(reader, MemoryReader)
        assert await reader.count(eyes(permit())) == 1_200
        found = {each.document_id: each.text for each in await reader.get(["new", "5", "7"], eyes(permit()))}
        assert found == {"new": "text of new", "5": "changed"}
        assert collection.approximate_bytes > 1_200 * DIMENSIONS * 4


async def test_whoever_comes_first_waits_for_a_small_collection(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT, rows=200)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        reader = await (await collection_of(cell)).reader_after_quick_load()
        assert isinstance(reader, MemoryReader)
        assert await reader.count(eyes(permit())) == 200
    assert not {"find_ids", "get"} & set(recorder.operations)  # one question to the store is enough


async def test_nobody_waits_until_a_large_collection_is_in_memory(
    store: FakeCellStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._LOAD_PATIENCE_SECONDS", 600)
    seed(store, TENANT, rows=201)
    recorder.held = {"find_ids"}
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert not isinstance(await collection.reader_after_quick_load(), MemoryReader)
        assert collection.is_loading
        recorder.go.set()
        await collection.loaded()
        assert collection.rows_in_memory == 201


async def test_nobody_waits_where_others_load_first(
    store: FakeCellStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._LOAD_PATIENCE_SECONDS", 600)
    seed(store, TENANT, "tenant_b", "tenant_c")
    recorder.held = {"head"}
    async with world(store) as here:
        for first in ("tenant_b", "tenant_c"):
            async with here.cells.lease(first) as cell:
                (await collection_of(cell)).start_loading()
        await until(lambda: recorder.operations.count("head") == 2)
        async with here.cells.lease(TENANT) as cell:
            assert not isinstance(await (await collection_of(cell)).reader_after_quick_load(), MemoryReader)
        recorder.go.set()


async def test_a_load_that_failed_is_not_set_off_again_by_the_same_search(
    store: FakeCellStore, recorder: Recorder
) -> None:
    seed(store, TENANT)
    recorder.failures["head"] = RetrievalUnavailable("gone")
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        assert not isinstance(await (await collection_of(cell)).reader_after_quick_load(), MemoryReader)
        assert recorder.operations.count("head") == 1


async def test_what_is_written_while_a_small_collection_is_read_is_done_again(
    store: FakeCellStore, recorder: Recorder
) -> None:
    """The rows that were read are older than the writes."""
    seed(store, TENANT, rows=10)
    recorder.held = {"answer of head"}
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
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
        assert isinstance(reader, MemoryReader)
        found = {each.document_id: each.text for each in await reader.get(["new", "5", "7"], eyes(permit()))}
        assert found == {"new": "text of new", "5": "changed"}


async def test_a_collection_that_grows_beyond_all_memory_leaves_it(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for batch in range(10):
            await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
            async with here.cells.lease(TENANT) as cell:
                assert cell is not None
                assert cell.bytes_at_rest <= 4_000_000
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            assert not isinstance(await collection.reader_after_quick_load(), MemoryReader)
            await collection.loaded()
            assert collection.rows_in_memory == 0
            reader = collection.reader()
            assert not isinstance(reader, MemoryReader)
            assert await reader.count(eyes(permit())) == 10_000


async def test_what_fits_once_it_is_compacted_stays(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for _ in range(3):  # the same rows: one of three times is alive
            for batch in range(4):
                await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
                async with here.cells.lease(TENANT) as cell:
                    collection = await collection_of(cell)
                    await until(partial(is_at_rest, collection))
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            assert collection.rows_in_memory == 4_000
            assert isinstance(collection.reader(), MemoryReader)


def is_at_rest(collection: OpenCollection) -> bool:
    return not collection.is_loading


class HeldCompactions:
    """Compactions that end when they are let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.permits = threading.Semaphore(0)
        compaction = CollectionIndex.compaction

        def held(index: CollectionIndex) -> Callable[[], CollectionIndex]:
            work = compaction(index)

            def compacted() -> CollectionIndex:
                self.begun += 1
                assert self.permits.acquire(timeout=60)
                return work()

            return compacted

        monkeypatch.setattr(CollectionIndex, "compaction", held)

    def have_begun(self, times: int) -> bool:
        return self.begun == times


async def rewritten_during_compactions(here: World, compactions: HeldCompactions, times: int) -> OpenCollection:
    """A collection of which all rows were written again, and again during each of so many compactions."""
    rows = [document(str(number)) for number in range(1_000)]
    await add(here, TENANT, rows)
    await add(here, TENANT, rows)
    async with here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        for number in range(1, times + 1):
            await until(partial(compactions.have_begun, number))
            await add(here, TENANT, rows)
            compactions.permits.release()
            await collection.loaded()
    return collection


async def test_rows_that_died_during_a_compaction_are_compacted_in_turn(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    compactions = HeldCompactions(monkeypatch)
    async with world(store) as here:
        collection = await rewritten_during_compactions(here, compactions, times=1)
        compactions.permits.release()
        await collection.loaded()
        index = collection.index
        assert index is not None
        assert (len(index), len(index.snapshot().alive)) == (1_000, 1_000)


async def test_who_goes_on_writing_does_not_keep_a_collection_in_compaction(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would never leave memory, however much it takes."""
    compactions = HeldCompactions(monkeypatch)
    async with world(store) as here:
        collection = await rewritten_during_compactions(here, compactions, times=2)
        assert collection.may_leave_memory
        assert compactions.begun == 2
        index = collection.index
        assert index is not None
        assert index.is_worth_compacting, "the next write sees to it"


async def test_what_outgrew_memory_comes_back_when_half_of_it_is_gone(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for batch in range(10):
            await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
        async with here.cells.lease(TENANT) as cell:
            assert cell is not None
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
            assert collection.mapped_index is not None
            doomed = [f"{batch}-{row}" for batch in range(9) for row in range(1_000)]
            async with cell.writer:
                await cell.write(
                    "delete",
                    lambda: cell.cell.delete("documents", doomed),
                    lambda: collection.apply(lambda rows: rows.delete(doomed)),
                )
            collection.start_loading()
            await collection.loaded()
            assert collection.rows_in_memory == 1_000
            assert collection.mapped_index is None


async def test_room_is_made_to_the_end_even_if_the_call_is_cancelled(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the lock would be free, and what the next one writes be moved away."""
    seed(store, TENANT)
    begun, go = threading.Event(), threading.Event()

    def make_room(_index: CollectionIndex, _more: int) -> None:
        begun.set()
        assert go.wait(60)

    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await collection.loaded()
        monkeypatch.setattr(CollectionIndex, "make_room", make_room)
        making = asyncio.create_task(collection.make_room(1_000))
        assert await asyncio.to_thread(begun.wait, 60)
        making.cancel()
        await until_all_wait()
        assert not making.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await making


async def test_arrays_that_were_moved_are_let_go_even_if_no_write_follows(store: FakeCellStore) -> None:
    seed(store, TENANT)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await collection.loaded()
        index = collection.index
        assert index is not None
        index.snapshot()  # as a search takes it
        left = weakref.ref(index._matrix)
        await collection.make_room(10_000)
        assert left() is None
        assert len(index.snapshot().alive) == len(index)


async def test_a_collection_that_a_searcher_found_first_is_loaded_and_not_begun_anew(
    store: FakeCellStore, recorder: Recorder
) -> None:
    recorder.held = {"answer of head"}
    async with world(store) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        cell.cell.create_collection(INFO)
        collection = await collection_of(cell)
        collection.start_loading()
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
        assert collection.rows_in_memory == 1


async def test_texts_that_are_too_large_for_memory_throw_nobody_out(store: FakeCellStore) -> None:
    others = ["tenant_b", "tenant_c"]
    seed(store, *others)
    async with world(store, limit_bytes=20_000_000) as here:
        for other in others:
            async with here.cells.lease(other) as cell:
                (await collection_of(cell)).start_loading()
        seed_texts(store, rows=50, characters=1_000_000)
        for _ in range(2):
            async with here.cells.lease(TENANT) as cell:
                collection = await collection_of(cell)
                collection.start_loading()
                await collection.loaded()
                assert collection.rows_in_memory == 0
                assert collection.mapped_index is not None
                assert len(collection.mapped_index) == 50
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
            collection.start_loading()
            await collection.loaded()
        assert sorted(collection.rows_in_memory for collection in both) == [0, 250]
        assert lent.bytes_at_rest <= 900_000


async def test_a_collection_that_would_not_fit_stays_in_the_store(store: FakeCellStore) -> None:
    seed(store, TENANT, rows=50)
    async with world(store, limit_bytes=1_000) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await collection.loaded()
        assert not isinstance(collection.reader(), MemoryReader)
        order = SearchOrder(direction(np.ones(DIMENSIONS, dtype=np.float32)), 5)
        catalogued = [document(str(number)) for number in range(50)]
        collection.catalogue.add(collection.catalogue.missing_entries(catalogued))
        assert len((await collection.reader().search(order, eyes(permit()))).results) == 5
