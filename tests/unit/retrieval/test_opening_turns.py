"""Where many tenants ask at once, their cells are brought in a few at a time; who would wait too long is told so."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest
from contract.fake_store import FakeCellStore
from support.waiting import until, until_all_wait
from unit.retrieval.worlds import World, collection_of, seed, world

from vecsec_chassis.calls import Call, enter
from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable
from vecsec_retrieval import store_threads
from vecsec_retrieval.cells import opening_turns

TENANTS = [f"tenant_{number:03}" for number in range(60)]


class Door:
    """Counts who is opened at the same time, and can hold all of them up."""

    def __init__(self, store: FakeCellStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.inside = self.most = self.opened = 0
        self.seconds = 0.001
        self.is_free = threading.Event()
        self.is_free.set()
        self._open, store.open = store.open, self.open  # type: ignore[method-assign]

    def open(self, tenant_id: str, *, create: bool) -> object:
        with self._lock:
            self.inside += 1
            self.opened += 1
            self.most = max(self.most, self.inside)
        try:
            assert self.is_free.wait(60)
            time.sleep(self.seconds)
            return self._open(tenant_id, create=create)
        finally:
            with self._lock:
                self.inside -= 1


@pytest.fixture
def door(store: FakeCellStore) -> Door:
    seed(store, *TENANTS)
    return Door(store)


@pytest.fixture
async def here(store: FakeCellStore, door: Door) -> AsyncIterator[World]:
    async with world(store, workers=16, most_awake=8) as running:
        yield running
        door.is_free.set()


async def read(here: World, tenant_id: str, seconds: float | None = None) -> None:
    enter(Call(method="/x/Y", request_id="1", deadline=None if seconds is None else time.monotonic() + seconds))
    async with here.cells.lease(tenant_id) as cell:
        collection = await collection_of(cell)
        await collection.reader_after_load()


async def test_a_storm_of_first_searches_is_answered_a_few_at_a_time(here: World, door: Door) -> None:
    most_awake = 0

    async def read_and_look(tenant_id: str) -> None:
        nonlocal most_awake
        await read(here, tenant_id)
        most_awake = max(most_awake, len(here.cells._awake))

    await asyncio.gather(*(read_and_look(tenant_id) for tenant_id in TENANTS))
    assert door.opened == len(TENANTS)
    assert door.most <= opening_turns._AT_ONCE
    assert most_awake <= 8 + 2 * opening_turns._AT_ONCE
    assert len(here.cells._open) == len(TENANTS)


async def test_who_would_wait_too_long_is_told_to_come_again(
    here: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_turns, "_LONGEST_SECONDS", 600.0)
    door.seconds = 0.05
    others = [asyncio.create_task(read(here, tenant_id)) for tenant_id in TENANTS[:50]]
    await until(lambda: door.opened > opening_turns._AT_ONCE)
    late = asyncio.create_task(read(here, TENANTS[55], seconds=0.3))
    with pytest.raises(LimitExceeded, match="busy; try again in a moment") as raised:
        await late
    assert raised.value.retry_after == 1.0
    await asyncio.gather(*others)
    assert door.opened == 50, "it was not even begun"
    await read(here, TENANTS[55])


async def test_where_nothing_is_brought_in_the_store_is_not_busy_but_out_of_reach(
    here: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_turns, "_LONGEST_SECONDS", 600.0)
    monkeypatch.setattr(store_threads, "STUCK_SECONDS", 0.0)
    door.is_free.clear()
    first = [asyncio.create_task(read(here, tenant_id)) for tenant_id in TENANTS[:4]]
    await until(lambda: door.inside == opening_turns._AT_ONCE)
    late = asyncio.create_task(read(here, TENANTS[10], seconds=0.2))
    with pytest.raises(RetrievalUnavailable, match="does not answer") as raised:
        await late
    assert raised.value.retry_after == 1.0
    door.is_free.set()
    await asyncio.gather(*first)
    await read(here, TENANTS[10])


async def test_who_hangs_up_while_waiting_or_opening_keeps_nobody_waiting(here: World, door: Door) -> None:
    door.is_free.clear()
    tasks = [asyncio.create_task(read(here, tenant_id)) for tenant_id in TENANTS[:12]]
    await until(lambda: door.inside == opening_turns._AT_ONCE)
    await until_all_wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    door.is_free.set()
    await asyncio.gather(*(read(here, tenant_id) for tenant_id in TENANTS[12:30]))
    assert door.most <= 2 * opening_turns._AT_ONCE


async def test_a_turn_ends_though_its_reader_takes_long(here: World) -> None:
    readers_are_done = asyncio.Event()

    async def read_long(tenant_id: str) -> None:
        async with here.cells.lease(tenant_id):
            await readers_are_done.wait()

    long = [asyncio.create_task(read_long(tenant_id)) for tenant_id in TENANTS[:8]]
    await read(here, TENANTS[20])
    assert not any(task.done() for task in long), "it did not wait for them"
    readers_are_done.set()
    await asyncio.gather(*long)


async def test_a_tenant_without_a_cell_and_a_writer_keep_no_turn(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening_turns, "_LONGEST_SECONDS", 600.0)
    for number in range(2 * opening_turns._AT_ONCE):
        async with here.cells.lease(f"nobody_{number}") as cell:
            assert cell is None
    leases = [here.cells.lease(f"new_{number}", create=True) for number in range(2 * opening_turns._AT_ONCE)]
    for lease in leases:
        assert await lease.__aenter__() is not None
    for lease in leases:
        await lease.__aexit__(None, None, None)
