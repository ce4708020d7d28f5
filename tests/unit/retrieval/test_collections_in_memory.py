"""Collections are taken into memory and kept there while they fit, whatever is written meanwhile."""

import asyncio
import threading
import weakref
from dataclasses import replace
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
    add,
    collection_of,
    document,
    eyes,
    label,
    permit,
    seed,
    world,
)

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_collection import MOVES, InMemory, InStore, OpenCollection, State, TooLarge
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.rows import Document
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


@pytest.mark.parametrize("reading", ["snapshot", "changes", "answer of changes", "living", "rows_at"])
async def test_a_collection_is_taken_into_memory_while_it_is_written_to(
    store: FakeCellStore, recorder: Recorder, reading: str
) -> None:
    seed(store, TENANT, rows=2_200)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert cell is not None
        recorder.held = {reading}
        assert not isinstance(collection.reader(), MemoryReader)
        await until(lambda: reading in recorder.operations)
        changed = [document("new"), document("5", text="changed")]

        await write(cell, collection, changed, ["7"])
        recorder.go.set()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, MemoryReader)
        assert await reader.count(eyes(permit())) == 2_200
        found = {each.document_id: each.text for each in await reader.get(["new", "5", "7"], eyes(permit()))}
        assert found == {"new": "text of new", "5": "changed"}
        assert collection.approximate_bytes > 2_200 * DIMENSIONS * 4


async def write(cell: OpenCell, collection: OpenCollection, changed: list[Document], deleted: list[str]) -> None:
    def store() -> int:
        cell.cell.upsert("documents", [to_stored(each) for each in changed])
        return cell.cell.delete("documents", deleted)

    def remember(position: int) -> None:
        collection.apply(IndexChange(position, changed, deleted))

    async with cell.writer:
        await cell.write("upsert", store, remember)


async def test_whoever_comes_first_waits_for_a_small_collection(store: FakeCellStore, recorder: Recorder) -> None:
    seed(store, TENANT, rows=999)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        reader = await (await collection_of(cell)).reader_after_load()
        assert isinstance(reader, MemoryReader)
        assert await reader.count(eyes(permit())) == 999
    assert not {"living", "rows_at"} & set(recorder.operations)  # what was read first is all


async def test_all_who_search_wait_for_a_load_that_goes_on_but_not_for_ever(
    store: FakeCellStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(store, TENANT, rows=2_001)
    recorder.held = {"living"}
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        monkeypatch.setattr("vecsec_retrieval.cells.open_collection._LOAD_PATIENCE_SECONDS", 0)
        assert not isinstance(await collection.reader_after_load(), MemoryReader)
        monkeypatch.setattr("vecsec_retrieval.cells.open_collection._LOAD_PATIENCE_SECONDS", 60)
        searches = [asyncio.create_task(collection.reader_after_load()) for _ in range(2)]
        await until_all_wait()
        assert collection.is_loading
        assert not any(search.done() for search in searches)
        recorder.go.set()
        assert all(isinstance(reader, MemoryReader) for reader in await asyncio.gather(*searches))
        assert collection.rows_in_memory == 2_001


async def test_no_more_than_two_are_read_from_the_log_as_a_whole_and_others_need_not_wait_for_that(
    store: FakeCellStore, recorder: Recorder
) -> None:
    large = ["tenant_b", "tenant_c", "tenant_d"]
    for tenant_id in large:
        stored = store.open(tenant_id, create=True)
        assert stored is not None
        stored.create_collection(INFO)
        rows = [document(str(number), of=label(tenant_id=tenant_id)) for number in range(2_001)]
        stored.upsert("documents", [to_stored(row) for row in rows])
    seed(store, TENANT)
    recorder.held = {"living"}
    async with world(store, workers=8) as here:
        for first in large:
            async with here.cells.lease(first) as cell:
                (await collection_of(cell)).start_loading()
        await until(lambda: recorder.operations.count("living") == 2)
        async with here.cells.lease(TENANT) as cell:
            assert isinstance(await (await collection_of(cell)).reader_after_load(), MemoryReader)
        assert recorder.operations.count("living") == 2
        recorder.go.set()


async def test_a_load_that_failed_is_not_set_off_again_by_the_same_search(
    store: FakeCellStore, recorder: Recorder
) -> None:
    seed(store, TENANT)
    recorder.failures["changes"] = RetrievalUnavailable("gone")
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        assert not isinstance(await (await collection_of(cell)).reader_after_load(), MemoryReader)
        assert recorder.operations.count("changes") == 1


async def test_what_is_written_while_a_small_collection_is_read_is_done_again(
    store: FakeCellStore, recorder: Recorder
) -> None:
    """The rows that were read are older than the writes."""
    seed(store, TENANT, rows=10)
    recorder.held = {"answer of changes"}
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await until(lambda: "answer of changes" in recorder.operations)
        assert cell is not None
        changed = [document("new"), document("5", text="changed")]

        await write(cell, collection, changed, ["7"])
        recorder.go.set()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, MemoryReader)
        found = {each.document_id: each.text for each in await reader.get(["new", "5", "7"], eyes(permit()))}
        assert found == {"new": "text of new", "5": "changed"}


async def test_a_collection_that_outgrows_memory_goes_on_in_a_snapshot(store: FakeCellStore) -> None:
    async with world(store, limit_bytes=4_000_000) as here:
        for batch in range(20):
            await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
            async with here.cells.lease(TENANT) as cell:
                assert cell is not None
                await (await collection_of(cell)).loaded()
                assert cell.bytes_at_rest <= 4_000_000
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            assert collection.rows_in_memory == 20_000
            reader = collection.reader()
            assert isinstance(reader, MemoryReader)
            assert await reader.count(eyes(permit())) == 20_000


async def test_what_fits_neither_into_memory_nor_on_the_disk_is_read_from_the_store_and_tried_again(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.memory.snapshot_writer._BYTES_LEFT_FREE", 2**60)
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._TRY_AGAIN_SECONDS", 0)
    async with world(store, limit_bytes=4_000_000) as here:
        for batch in range(10):
            await add(here, TENANT, [document(f"{batch}-{row}") for row in range(1_000)])
        async with here.cells.lease(TENANT) as cell:
            assert cell is not None
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
            reader = collection.reader()
            assert not isinstance(reader, MemoryReader)
            assert cell.bytes_at_rest <= 4_000_000
            assert await reader.count(eyes(permit())) == 10_000
            monkeypatch.setattr("vecsec_retrieval.memory.snapshot_writer._BYTES_LEFT_FREE", 0)
            await collection.loaded()
            collection.start_loading()
            await collection.loaded()
            assert collection.rows_in_memory == 10_000


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
        index.moment()  # as a search takes it
        left = weakref.ref(index._matrix)
        await collection.make_room(10_000)
        assert left() is None
        assert len(index.moment().alive) == len(index)


async def test_a_collection_that_a_searcher_found_first_is_loaded_and_not_begun_anew(
    store: FakeCellStore, recorder: Recorder
) -> None:
    recorder.held = {"answer of changes"}
    async with world(store) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        cell.cell.create_collection(INFO)
        collection = await collection_of(cell)
        collection.start_loading()
        await until(lambda: "answer of changes" in recorder.operations)
        collection.begin_empty()
        written = [document("first")]
        async with cell.writer:
            await cell.write(
                "upsert",
                lambda: cell.cell.upsert("documents", [to_stored(each) for each in written]),
                lambda position: collection.apply(IndexChange(position, upserted=written)),
            )
        recorder.go.set()
        await collection.loaded()
        assert collection.rows_in_memory == 1


async def test_texts_that_are_too_large_for_memory_throw_nobody_out_and_are_in_a_snapshot(store: FakeCellStore) -> None:
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
                assert collection.rows_in_memory == 50
                assert collection.approximate_bytes < 1_000_000
        assert set(others) <= set(here.cells._open)


def seed_texts(store: FakeCellStore, rows: int, characters: int) -> None:
    cell = store.open(TENANT, create=True)
    assert cell is not None
    cell.create_collection(INFO)
    cell.upsert("documents", [to_stored(document(str(row), text="x" * characters)) for row in range(rows)])


async def test_of_a_tenants_collections_the_largest_leaves_memory(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.memory.snapshot_writer._BYTES_LEFT_FREE", 2**60)
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
        await until(lambda: sorted(collection.rows_in_memory for collection in both) == [0, 250])
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
