"""A few at a time, by turns of those who ask: what is done for callers who are not known yet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter

from vecsec_chassis.admission.fair_queue import FairQueue


class TooManyWaiting(Exception):
    """So many wait already that this one is turned away."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    called: "asyncio.Future[None]"
    cost: float


class FairTurns:
    """Hands out a number of places; where more want one, keys take turns."""

    def __init__(self, places: int, *, most_waiting: int, most_waiting_of_a_key: int | None = None) -> None:
        """Where `most_waiting` wait, who has most of them makes room for others; None bounds a key no further."""
        self._free = places
        self._most_waiting = most_waiting
        self._most_waiting_of_a_key = most_waiting if most_waiting_of_a_key is None else most_waiting_of_a_key
        self._queue: FairQueue[_Waiting] = FairQueue(attrgetter("cost"))

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Have a place until the block ends.

        Raises:
            TooManyWaiting: at once, instead of waiting; or while it waits, if its key makes room for another.
        """
        await self.take(key)
        try:
            yield
        finally:
            self.give_back()

    async def take(self, key: str, cost: float = 1.0) -> None:
        """Wait for a place, which is to be given back; the more it costs, the longer the key waits for its next one.

        Raises:
            TooManyWaiting: as `turn` does.
        """
        if self._free > 0:
            self._free -= 1
            return
        self._make_room(key)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), cost)
        self._queue.add(key, waiting)
        try:
            await waiting.called
        except asyncio.CancelledError:
            self._queue.remove(key, waiting)
            called = waiting.called
            if called.done() and not called.cancelled() and called.exception() is None:
                self.give_back()  # called in the moment in which it left
            raise

    def give_back(self) -> None:
        """Let the next one have the place."""
        while (following := self._queue.take()) is not None:
            if not following.called.done():
                following.called.set_result(None)
                return
        self._free += 1

    def _make_room(self, key: str) -> None:
        own = self._queue.count(key)
        if own >= self._most_waiting_of_a_key:
            raise TooManyWaiting
        if len(self._queue) < self._most_waiting:
            return
        longest = self._queue.longest()
        if longest is None or self._queue.count(longest) <= own + 1:
            raise TooManyWaiting
        leaves = self._queue.newest(longest)
        self._queue.remove(longest, leaves)
        if not leaves.called.done():
            leaves.called.set_exception(TooManyWaiting())
