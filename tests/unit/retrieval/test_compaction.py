"""Dead rows are compacted away beside the work: no write is lost by it, and no loop held."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from support.loop_watch import watched_loop
from support.waiting import until
from unit.retrieval.worlds import DIMENSIONS, TENANT, document, eyes, label, permit, world

from vecsec_retrieval.cells.open_collection import InMemory, OpenCollection
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.model.rows import CollectionInfo, Document

INFO = CollectionInfo("documents", "external", DIMENSIONS)


@pytest.fixture
async def collection() -> AsyncIterator[OpenCollection]:
    async with world() as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        opened = await cell.create_collection(INFO)
        opened.begin_empty()
        yield opened


def held(of: Callable[[], CollectionIndex], gate: threading.Event) -> Callable[[], CollectionIndex]:
    """Waits in its thread until the gate is open."""

    def wait() -> CollectionIndex:
        assert gate.wait(60)
        return of()

    return wait


async def test_writes_while_rows_are_compacted_are_kept(
    collection: OpenCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, compaction = threading.Event(), CollectionIndex.compaction
    monkeypatch.setattr(CollectionIndex, "compaction", lambda index: held(compaction(index), gate))
    sight = eyes(permit())

    async def ids() -> list[str]:
        return await collection.reader().ids(sight, after_id="", limit=1_000)

    collection.apply(lambda index: index.upsert([document(f"d{number}") for number in range(10)]))
    collection.apply(lambda index: index.delete([f"d{number}" for number in range(8)]))
    assert await ids() == ["d8", "d9"]
    assert collection.is_loading
    collection.apply(lambda index: index.upsert([document("new")]))
    collection.apply(lambda index: index.delete(["d8"]))
    assert await ids() == ["d9", "new"], "readers need not wait"
    gate.set()
    await collection.loaded()
    assert await ids() == ["d9", "new"]
    assert collection.index is not None
    assert len(collection.index.snapshot().documents) < 10, "the dead rows are gone"
    await until(lambda: not collection.is_loading)  # also with the row that died meanwhile


async def test_a_cell_that_closes_gives_a_compaction_up(
    collection: OpenCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, compaction = threading.Event(), CollectionIndex.compaction
    monkeypatch.setattr(CollectionIndex, "compaction", lambda index: held(compaction(index), gate))
    collection.apply(lambda index: index.upsert([document(f"d{number}") for number in range(10)]))
    collection.apply(lambda index: index.delete([f"d{number}" for number in range(8)]))
    await asyncio.sleep(0)
    await collection.stop_loading()
    assert not collection.is_loading
    gate.set()


async def test_compacting_many_labels_does_not_hold_the_loop(collection: OpenCollection) -> None:
    def owned(number: int) -> Document:
        return document(f"d{number}", np.ones(DIMENSIONS, dtype=np.float32), label(owner=f"owner-{number}"))

    index = CollectionIndex(DIMENSIONS)
    await asyncio.to_thread(index.upsert, [owned(number) for number in range(15_000)])
    collection._state = InMemory(index)

    async def delete() -> None:
        collection.apply(lambda index: index.delete([f"d{number}" for number in range(4_000)]))

    with watched_loop(0.05) as watch:
        await asyncio.create_task(delete())
        await collection.loaded()
    assert not watch.held, str(watch)
    assert collection.hot_rows == 11_000
    assert collection.index is not index
