"""Worker threads for the store's blocking calls. A call that is cancelled before its work has begun never begins it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vecsec_chassis.calls import time_remaining
from vecsec_chassis.domain.errors import DeadlineExceeded, LimitExceeded, RetrievalUnavailable, VecSecError

Answer = TypeVar("Answer")

_MOST_WAITING = 1_000
_RETRY_SECONDS = 1.0
STUCK_SECONDS = 5.0
"""A store in which nothing has got done for so long does not answer."""
_PATIENCE_SHARE = 0.5
"""Of the time that a call has left, it waits for a thread."""


class StoreThreads:
    """A bounded pool with a bounded queue."""

    def __init__(self, workers: int, record_duration: Callable[[str, float], None]) -> None:
        """`record_duration` gets the operation's name and the seconds that it took; it is called in the worker."""
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="store")
        self._record_duration = record_duration
        self._ended_at = time.monotonic()
        """When the work of a call was last done, on the monotonic clock."""
        self.waiting = 0
        """How many calls wait for a thread or are in one."""
        self._waiting_lock = threading.Lock()

    async def run(self, operation: str, work: Callable[[], Answer]) -> Answer:
        """Do the work in a thread and return what it returns; on cancellation, work in progress is left to itself.

        Raises:
            DeadlineExceeded: if the caller's deadline has passed already.
            LimitExceeded: if so much work is waiting that it would not begin in good time.
            RetrievalUnavailable: if that is because none of it gets done.
        """
        future = self._submit(operation, work)
        waiting = asyncio.wrap_future(future)
        remaining = time_remaining()
        if remaining is not None and self.waiting > self._workers:
            await self._begun(future, waiting, remaining * _PATIENCE_SHARE)
        return await waiting

    async def run_to_the_end(self, operation: str, work: Callable[[], None], done: Callable[[], None]) -> None:
        """Do the work in a thread, then call `done` on the event loop.

        On cancellation, work that has begun is waited for and `done` is called, for the store has then changed; only
        then the cancellation goes on. Raises what `run` raises and what the work raises; then `done` is not called.
        """
        future = self._submit(operation, work)
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                while not waiting.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([waiting])
                if waiting.exception() is None:
                    done()
            raise
        done()

    async def _begun(self, future: "Future[Answer]", waiting: "asyncio.Future[Answer]", seconds: float) -> None:
        """Wait for so long at most for others to come first."""
        try:
            done, _ = await asyncio.wait([waiting], timeout=seconds)
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        if not done and future.cancel():
            raise busy_or_stuck(f"no thread of the store's within {seconds:.2f} s", moved_at=self._ended_at)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, operation: str, work: Callable[[], Answer]) -> "Future[Answer]":
        remaining = time_remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded("the deadline passed before the answer was ready", detail=f"before {operation}")
        if self.waiting >= _MOST_WAITING:
            raise busy_or_stuck(f"{self.waiting} calls wait already", moved_at=self._ended_at)

        def timed() -> Answer:
            started = time.perf_counter()
            try:
                return work()
            finally:
                self._ended_at = time.monotonic()
                self._record_duration(operation, time.perf_counter() - started)

        with self._waiting_lock:
            self.waiting += 1
        future = self._executor.submit(timed)
        future.add_done_callback(self._no_longer_waiting)
        return future

    def _no_longer_waiting(self, _future: "Future[Answer]") -> None:
        with self._waiting_lock:
            self.waiting -= 1


def busy_or_stuck(detail: str, *, moved_at: float) -> VecSecError:
    """What a call is told that would wait for too long: nothing has failed while others get done, of which the last one
    did at `moved_at`, on the monotonic clock."""
    if time.monotonic() - moved_at < STUCK_SECONDS:
        return LimitExceeded(
            "the vector store is busy; try again in a moment", detail=detail, retry_after=_RETRY_SECONDS
        )
    return RetrievalUnavailable(
        "the vector store does not answer", detail=f"{detail}, and nothing got done", retry_after=_RETRY_SECONDS
    )
