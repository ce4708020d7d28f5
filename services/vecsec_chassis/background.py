"""Work that goes on beside the calls of a service."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

log = structlog.get_logger()

Result = TypeVar("Result")


@asynccontextmanager
async def running_in_background(work: Coroutine[object, object, None], name: str) -> AsyncIterator[None]:
    """Run this until the block ends. Should it end by itself, the log says so at once, and why."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def detached(work: Coroutine[object, object, Result]) -> "asyncio.Task[Result]":
    """Begin work that outlives the call that sets it off: without its deadline. Whoever begins it holds the task."""
    return asyncio.create_task(work, context=contextvars.Context())


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.error("background work ended", work=task.get_name(), exc_info=task.exception())
