"""Work that goes on beside the calls of a service."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias, TypeVar

import structlog

log = structlog.get_logger()

Work: TypeAlias = Coroutine[object, object, None]
Result = TypeVar("Result")


@asynccontextmanager
async def running_in_background(work: Work, name: str, *, may_end: bool = False) -> AsyncIterator[asyncio.Task[None]]:
    """Run this until the block ends, which it does not outlive. Should it fail, or end by itself though it may not, the
    log says so at once, and why."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_of_failure if may_end else _log_end)
    try:
        yield task
    finally:
        await cancel_and_wait((task,))


@contextmanager
def running_in_thread(work: Callable[[], None], end: Callable[[], None], name: str) -> Iterator[None]:
    """Run this in a thread of its own until the block ends; `end` has it finish, which is waited for."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join()


class BackgroundTasks:
    """Tasks that calls set off and do not wait for. They are held until they end; the log tells of those that fail."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Work, name: str) -> "asyncio.Task[None]":
        """Begin work that has nothing of the call that sets it off, such as its request id. Who waits for it after all
        shields it."""
        task = asyncio.create_task(work, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_tell_of_failure)
        return task

    async def close(self) -> None:
        """End all of it now."""
        await cancel_and_wait(self._tasks)


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and go on when they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log_end(task)


def detached(work: Coroutine[object, object, Result]) -> "asyncio.Task[Result]":
    """Begin work that outlives the call that sets it off: without its deadline. Whoever begins it holds the task."""
    return asyncio.create_task(work, context=contextvars.Context())


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.error("background work ended", work=task.get_name(), exc_info=task.exception())
