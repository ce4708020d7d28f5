"""The heartbeat says what is, once, and ends when it is told to."""

import asyncio
import threading

import pytest
from contract.fake_store import FakeCellStore
from structlog.testing import capture_logs
from unit.retrieval.worlds import metrics

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.rpc.server import Health
from vecsec_retrieval.cells import heartbeat
from vecsec_retrieval.cells.heartbeat import CELLS, WRITES, StoreHeartbeat


class NotedHealth(Health):
    """Remembers what was said last."""

    def __init__(self) -> None:
        super().__init__("service")
        self.said: dict[str | None, bool] = {}

    async def set_serving(self, serving: bool, name: str | None = None) -> None:
        self.said[name] = serving


async def test_changes_are_logged_once_and_health_follows() -> None:
    store, health, damaged = FakeCellStore(), NotedHealth(), set[str]()
    beating = StoreHeartbeat(store, lambda: damaged, metrics())

    def fail(_operation: str) -> None:
        raise RetrievalUnavailable("gone", detail="refused")

    with capture_logs() as lines:
        for broken in (False, False, True, True, False):
            store.before = fail if broken else lambda _operation: None
            await beating.beat(health)
            assert health.said == {None: not broken, CELLS: True, WRITES: not broken}
    assert [line["event"] for line in lines] == ["Vector store connection lost", "Vector store connection restored"]
    damaged.add("tenant_a")
    await beating.beat(health)
    assert health.said == {None: True, CELLS: False, WRITES: True}


async def test_a_store_that_takes_no_writes_serves_and_says_so_once() -> None:
    store, health = FakeCellStore(), NotedHealth()
    beating = StoreHeartbeat(store, set, metrics())
    with capture_logs() as lines:
        for refusal in (None, "full", "full", "read-only", None):
            store.refuses = refusal
            await beating.beat(health)
            assert health.said == {None: True, CELLS: True, WRITES: refusal is None}
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("Vector store takes no writes", "full"),
        ("Vector store takes no writes", "read-only"),
        ("Vector store takes writes again", None),
    ]


async def test_a_store_that_does_not_answer_in_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_TIMEOUT_SECONDS", 0.05)
    go, store, health = threading.Event(), FakeCellStore(), NotedHealth()

    def wait(_operation: str) -> None:
        go.wait(60)

    store.before = wait
    await StoreHeartbeat(store, set, metrics()).beat(health)
    assert health.said[None] is False
    go.set()


async def test_it_ends_whenever_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL_SECONDS", 0.0)
    for turn in range(200):
        task = asyncio.create_task(StoreHeartbeat(FakeCellStore(), set, metrics()).run(NotedHealth()))
        await asyncio.sleep(turn % 20 * 0.0001)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=60)
        assert done, "the cancellation was swallowed"
