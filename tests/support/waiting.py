"""Waiting for facts: what comes later is looked for until it is there, never once."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 120.0
"""How long a busy machine may take for what an idle one does at once."""
COMMAND_SECONDS = 240
"""How long a command may take there."""
_PAUSE_SECONDS = 0.02
_ENOUGH_TURNS = 100


def _not_so() -> object:
    return "it did not come about in time"


async def until(
    is_so: Callable[[], object | Awaitable[object]],
    what: Callable[[], object] = _not_so,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until the condition, which may be a coroutine function, holds; `what` says what is there instead.

    Raises:
        AssertionError: if it does not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = is_so()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(_PAUSE_SECONDS)


def wait_until(
    is_so: Callable[[], object], what: Callable[[], object] = _not_so, seconds: float = PATIENCE_SECONDS
) -> None:
    """As `until`, where there is no event loop."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what()
        time.sleep(_PAUSE_SECONDS)


async def until_all_wait() -> None:
    """Let every task of the loop go on as far as it gets, to where it waits for a thread, a peer or a test."""
    for _ in range(_ENOUGH_TURNS):
        await asyncio.sleep(0)
