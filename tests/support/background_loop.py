"""Runs coroutines on a loop of its own, for tests that are not coroutines themselves."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from support.waiting import PATIENCE_SECONDS

T = TypeVar("T")
Leave = Callable[[], None]


class BackgroundLoop:
    """An event loop in a thread; contexts entered through it end in the task that entered them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = PATIENCE_SECONDS) -> T:
        """The coroutine's result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def enter(self, context: AbstractAsyncContextManager[T]) -> tuple[T, Leave]:
        """Enter a context; call what comes with its value to leave it."""
        leaving: asyncio.Event | None = None
        entered: asyncio.Future[T] = self.run(_new_future())

        async def live() -> None:
            nonlocal leaving
            leaving = asyncio.Event()
            try:
                async with context as value:
                    entered.set_result(value)
                    await leaving.wait()
            except BaseException as error:
                if not entered.done():
                    entered.set_exception(error)
                    return
                raise

        lifetime = asyncio.run_coroutine_threadsafe(live(), self._loop)

        def leave() -> None:
            assert leaving is not None
            self._loop.call_soon_threadsafe(leaving.set)
            lifetime.result(PATIENCE_SECONDS)

        async def value() -> T:
            return await entered

        return self.run(value()), leave

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _new_future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()
