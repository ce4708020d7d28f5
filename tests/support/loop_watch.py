"""Notices what holds an event loop: callbacks that compute or sleep for long.

Computing is measured in processor time of the loop's own thread: what other threads and other processes do meanwhile is
not the callback's, so that a noisy machine finds no one guilty. Sleeping takes no processor time, and is added.
"""

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from unittest.mock import patch

_SAMPLE_SECONDS = 0.01
_FRAMES = 6


@dataclass(frozen=True)
class Held:
    """A callback that held the loop."""

    seconds: float
    callback: str
    doing: str
    """Where it was seen at work; empty if it let nobody look."""

    def __str__(self) -> str:
        return f"{self.seconds * 1000:.0f} ms: {self.callback}\n{self.doing}"


@dataclass
class LoopWatch:
    """What held the loop of the thread that watches."""

    limit_seconds: float
    held: list[Held] = field(default_factory=list)
    longest_seconds: float = 0.0
    callbacks: int = 0
    slept_seconds: float = 0.0

    def note(self, handle: asyncio.Handle, seconds: float, doing: str) -> None:
        """A callback has ended."""
        self.callbacks += 1
        self.longest_seconds = max(self.longest_seconds, seconds)
        if seconds > self.limit_seconds:
            self.held.append(Held(seconds, _name(handle), doing))

    def __str__(self) -> str:
        return "the loop was held for\n" + "\n".join(map(str, self.held)) if self.held else "the loop was never held"


@contextmanager
def watched_loop(limit_seconds: float) -> Iterator[LoopWatch]:
    """Watch every callback of this thread's loop, which must be asyncio's own, until the block ends."""
    watch = LoopWatch(limit_seconds)
    sampler = _Sampler(threading.get_ident())
    run, sleep = asyncio.Handle._run, time.sleep

    def timed_run(handle: asyncio.Handle) -> None:
        if threading.get_ident() != sampler.thread_id:
            run(handle)
            return
        sampler.begin()
        started, slept = time.thread_time(), watch.slept_seconds
        try:
            run(handle)
        finally:
            seconds = time.thread_time() - started + watch.slept_seconds - slept
            watch.note(handle, seconds, sampler.end())

    def noted_sleep(seconds: float) -> None:
        if threading.get_ident() == sampler.thread_id:
            watch.slept_seconds += seconds
        sleep(seconds)

    gc.collect()
    gc.freeze()  # as services do: collecting what the tests before have left would be counted here
    try:
        with (
            sampler.running(),
            patch.object(asyncio.Handle, "_run", timed_run),
            patch.object(time, "sleep", noted_sleep),
        ):
            yield watch
    finally:
        gc.unfreeze()


class _Sampler:
    """Looks from another thread at what a callback does that takes long."""

    def __init__(self, thread_id: int) -> None:
        self.thread_id = thread_id
        self._began: float | None = None
        self._seen = ""
        self._stop = threading.Event()

    def begin(self) -> None:
        self._seen = ""
        self._began = time.monotonic()

    def end(self) -> str:
        self._began = None
        return self._seen

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, name="loop watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            began = self._began
            if began is None or self._seen or time.monotonic() - began < 2 * _SAMPLE_SECONDS:
                continue
            frame = sys._current_frames().get(self.thread_id)
            if frame is not None and self._began == began:
                self._seen = _stack(frame)


def _stack(frame: FrameType) -> str:
    innermost = traceback.extract_stack(frame)[-_FRAMES:]
    return "\n".join(f"    {each.filename}:{each.lineno} {each.name}" for each in innermost)


def _name(handle: asyncio.Handle) -> str:
    """The task whose step it was, or the callback itself."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return repr(task if isinstance(task, asyncio.Task) else handle)
