"""A write changes the store and memory alike, or the cell is closed."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.worlds import TENANT, metrics

from vecsec_chassis.domain.errors import RetrievalUnavailable, VecSecError
from vecsec_retrieval.cells.open_cell import CellState, OpenCell
from vecsec_retrieval.cells.open_collection import LoadRules
from vecsec_retrieval.cells.resting_cell import RestingCell
from vecsec_retrieval.search.memory_reader import AnswerCache
from vecsec_retrieval.store_threads import StoreThreads


class Nobody:
    """Is told how loads end, and does not mind."""

    def loaded(self, tenant_id: str) -> None:
        """Nothing to do."""

    def saved(self, tenant_id: str) -> None:
        """Nothing to do."""

    def load_failed(self, tenant_id: str, error: VecSecError) -> None:
        """Nothing to do."""


@pytest.fixture
def cell() -> Iterator[OpenCell]:
    opened = FakeCellStore().open(TENANT, create=True)
    assert opened is not None
    load_rules = LoadRules(limit_bytes=0, builds=asyncio.Semaphore(1), observer=Nobody(), answers=AnswerCache(0))
    with closing(StoreThreads(1, lambda _operation, _seconds: None)) as threads:
        yield OpenCell(
            RestingCell(opened, lambda: opened), [], threads=threads, metrics=metrics(), load_rules=load_rules
        )


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_write_that_fails_closes_the_cell_also_if_nobody_waits_for_it(
    cell: OpenCell, *, is_cancelled: bool, fails: bool
) -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    def work() -> int:
        begun.set()
        go.wait(60)
        if fails:
            raise RetrievalUnavailable("gone")
        return 7

    write = asyncio.create_task(cell.write("write", work, done.append))
    assert await asyncio.to_thread(begun.wait, 60)
    if is_cancelled:
        write.cancel()
        await asyncio.sleep(0)
    go.set()
    await asyncio.wait([write])
    assert write.cancelled() == is_cancelled
    assert (cell.state is CellState.RETIRED) == fails
    assert done == ([] if fails else [7])


async def test_a_write_that_never_begins_leaves_the_cell_open(cell: OpenCell) -> None:
    begun, go = threading.Event(), threading.Event()

    def wait() -> int:
        begun.set()
        go.wait(60)
        return 0

    first = asyncio.create_task(cell.write("first", wait, lambda _: None))
    assert await asyncio.to_thread(begun.wait, 60)
    second = asyncio.create_task(cell.write("second", wait, lambda _: None))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    go.set()
    await first
    assert cell.state is not CellState.RETIRED
