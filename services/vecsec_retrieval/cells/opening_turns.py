"""Lets few cells be brought in at the same time, first come, first served.

To open a cell and to read it for the first time takes a hundred times what a search in memory takes. Where many are
asked for at once, as after a start, each is answered sooner if they come in one after the other; and who would have to
wait for too long is told so while there is time to come again.
"""

import asyncio

from vecsec_chassis.calls import time_remaining
from vecsec_retrieval.store_threads import busy

_AT_ONCE = 4
"""Two are loaded at a time; meanwhile others are opened."""
_LONGEST_SECONDS = 0.25
"""So long a turn lasts: large collections are searched in the store for longer, and others do not wait for that."""
_PATIENCE_SHARE = 0.6
"""Of the time that a call has left, it waits for its turn."""
_PATIENCE_SECONDS = 5.0
"""So long it waits if it has no deadline."""


class OpeningTurn:
    """One cell's; it may be ended several times."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        """Take over a place, which the end of the turn frees."""
        self._free = free
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(_LONGEST_SECONDS, self.end)

    def end(self) -> None:
        """Let the next one begin."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            self._free.release()


class OpeningTurns:
    """Used on the event loop."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def take(self) -> OpeningTurn:
        """Wait for a turn.

        Raises:
            LimitExceeded: with advice when to come again, if it did not come in time.
        """
        remaining = time_remaining()
        patience = _PATIENCE_SECONDS if remaining is None else remaining * _PATIENCE_SHARE
        try:
            async with asyncio.timeout(patience):
                await self._free.acquire()
        except TimeoutError as error:
            raise busy(f"no turn to open a cell within {patience:.2f} s") from error
        return OpeningTurn(self._free)
