"""Work that is cancelled before it begins never begins; work that has begun is seen to its end."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.waiting import until_all_wait

from vecsec_chassis.calls import Call, enter
from vecsec_chassis.domain.errors import DeadlineExceeded, LimitExceeded, RetrievalUnavailable
from vecsec_retrieval import store_threads
from vecsec_retrieval.store_threads import StoreThreads


@pytest.fixture
def timings() -> list[tuple[str, float]]:
    return []


@pytest.fixture
def threads(timings: list[tuple[str, float]]) -> Iterator[StoreThreads]:
    with closing(StoreThreads(1, lambda operation, seconds: timings.append((operation, seconds)))) as pool:
        yield pool


class Gate:
    """Work that waits until it is let through."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.open.wait(60)

    async def wait_until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 60)


async def test_work_is_done_and_timed(threads: StoreThreads, timings: list[tuple[str, float]]) -> None:
    assert await threads.run("add", lambda: 1 + 1) == 2
    assert timings[0][0] == "add"


async def test_errors_come_out(threads: StoreThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run("divide", lambda: 1 / 0)
    done: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await threads.run_to_the_end("divide", fail, lambda: done.append("no"))
    assert done == []


@pytest.mark.parametrize("method", ["run", "run_to_the_end"])
async def test_cancelled_work_that_has_not_begun_never_begins(threads: StoreThreads, method: str) -> None:
    gate, done = Gate(), []
    first = asyncio.create_task(threads.run("first", gate))
    await gate.wait_until_begun()
    if method == "run":
        second = asyncio.create_task(threads.run("second", lambda: done.append("work")))
    else:
        second = asyncio.create_task(
            threads.run_to_the_end("second", lambda: done.append("work"), lambda: done.append("done"))
        )
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await first
    await threads.run("third", lambda: None)
    assert done == []


async def test_a_write_that_has_begun_is_finished_before_the_cancellation_goes_on(threads: StoreThreads) -> None:
    gate, done = Gate(), []
    write = asyncio.create_task(threads.run_to_the_end("write", gate, lambda: done.append("done")))
    await gate.wait_until_begun()
    for _ in range(3):
        write.cancel()
        await until_all_wait()
        assert not write.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert done == ["done"]


async def test_nothing_begins_after_the_deadline(threads: StoreThreads) -> None:
    async def late() -> None:
        enter(Call(method="/x/Y", request_id="1", deadline=0.0))
        await threads.run("late", lambda: None)

    with pytest.raises(DeadlineExceeded):
        await asyncio.create_task(late())


async def test_the_queue_is_bounded(threads: StoreThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_threads, "_MOST_WAITING", 2)
    gate = Gate()
    tasks = [asyncio.create_task(threads.run("wait", gate)) for _ in range(2)]
    await gate.wait_until_begun()
    with pytest.raises(LimitExceeded, match="busy") as raised:
        await threads.run("too much", lambda: None)
    assert raised.value.retry_after
    gate.open.set()
    await asyncio.gather(*tasks)
    await threads.run("again", lambda: None)


async def test_who_waits_too_long_for_a_thread_is_told_so_before_the_deadline(threads: StoreThreads) -> None:
    begun = list[str]()
    others = [asyncio.create_task(threads.run("short", lambda: time.sleep(0.05))) for _ in range(40)]
    await until_all_wait()
    with pytest.raises(LimitExceeded, match="busy; try again in a moment") as raised:
        await asyncio.create_task(wait_for_a_thread(threads, begun))
    assert raised.value.retry_after
    await asyncio.gather(*others)
    await threads.run("again", lambda: None)
    assert begun == []
    assert threads.waiting == 0


async def test_where_nothing_gets_done_the_store_is_not_busy_but_out_of_reach(
    threads: StoreThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_threads, "STUCK_SECONDS", 0.2)
    gate, begun = Gate(), list[str]()
    first = asyncio.create_task(threads.run("wait", gate))
    await gate.wait_until_begun()
    with pytest.raises(RetrievalUnavailable, match="does not answer") as raised:
        await asyncio.create_task(wait_for_a_thread(threads, begun))
    assert raised.value.retry_after
    gate.open.set()
    await first
    assert begun == []


async def wait_for_a_thread(threads: StoreThreads, begun: list[str]) -> None:
    enter(Call(method="/x/Y", request_id="1", deadline=time.monotonic() + 1.0))
    await threads.run("wait", lambda: begun.append("it"))
