"""Work beside the calls: told of when it ends by itself, over when its block is."""

import asyncio
import contextvars

import pytest
from structlog.testing import capture_logs
from support.waiting import until, until_all_wait

from vecsec_chassis.background import BackgroundTasks, running_in_background

current_call: contextvars.ContextVar[str] = contextvars.ContextVar("current_call", default="none")


class Work:
    """Goes on until it is told how to end."""

    def __init__(self) -> None:
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began_in = ""
        self.is_over = False

    async def run(self) -> None:
        self.began_in = current_call.get()
        try:
            await self.end
        finally:
            await asyncio.sleep(0)
            self.is_over = True


async def until_over(work: Work) -> None:
    await until(lambda: work.is_over)
    await until_all_wait()  # and told of


@pytest.mark.parametrize(
    ("may_end", "error", "told"), [(False, None, 1), (False, OSError("x"), 1), (True, None, 0), (True, OSError("x"), 1)]
)
async def test_work_that_ends_by_itself_is_told_of(may_end: bool, error: Exception | None, told: int) -> None:
    work = Work()
    with capture_logs() as logs:
        async with running_in_background(work.run(), "some work", may_end=may_end):
            if error is None:
                work.end.set_result(None)
            else:
                work.end.set_exception(error)
            await until_over(work)
    assert [(line["work"], line["exc_info"]) for line in logs] == [("some work", error)] * told


async def test_work_is_over_when_its_block_is_and_nothing_is_told() -> None:
    work = Work()
    with capture_logs() as logs:
        async with running_in_background(work.run(), "some work"):
            await asyncio.sleep(0)
    assert work.is_over
    assert not logs


async def test_tasks_that_calls_set_off_have_nothing_of_the_call_and_are_over_at_the_end() -> None:
    tasks, failing, lasting = BackgroundTasks(), Work(), Work()
    current_call.set("a call")
    with capture_logs() as logs:
        tasks.begin(failing.run(), "failing work")
        tasks.begin(lasting.run(), "lasting work")
        await asyncio.sleep(0)
        failing.end.set_exception(OSError("x"))
        await until_over(failing)
        await tasks.close()
    assert (failing.began_in, lasting.began_in) == ("none", "none")
    assert lasting.is_over
    assert [line["work"] for line in logs] == ["failing work"]
