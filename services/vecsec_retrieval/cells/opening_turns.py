"""Lets few cells be brought in at the same time, first come, first served.

To open a cell and to read it for the first time takes a hundred times what a search in memory takes. Where many are
asked for at once, as after a start, each is answered sooner if they come in one after the other; and who would have to
wait for too long is told so while there is time to come again.
"""

import asyncio
import time
from collections.abc import Callable

from vecsec_chassis.calls import time_remaining
from vecsec_retrieval.store_threads import busy_or_stuck

_AT_ONCE = 4
"""Two are loaded at a time; meanwhile others are opened."""
_LONGEST_SECONDS = 1.0
"""So long a turn lasts: large collections are searched in the store for longer, and others do not wait for that."""
_PATIENCE_SHARE = 0.4
"""Of the time that a call has left, it waits for its turn."""
_PATIENCE_SECONDS = 5.0
"""So long it waits if it has no deadline."""


class OpeningTurn:
    """One cell's; it may be given up and ended, and that several times."""

    def __init__(self, free: Callable[[], None], note_end: Callable[[], None]) -> None:
        """Take over a place, which `free` gives back; `note_end` is told when the cell was brought in."""
        self._free = free
        self._note_end = note_end
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(_LONGEST_SECONDS, self.give_up)

    def give_up(self) -> None:
        """Let the next one begin, whatever has become of this one."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            self._free()

    def end(self) -> None:
        """It is brought in, or there is nothing to bring in: let the next one begin."""
        self._note_end()
        self.give_up()


class OpeningTurns:
    """Used on the event loop."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._ended_at = 0.0
        """When a cell was last brought in, on the monotonic clock."""

    async def take(self) -> OpeningTurn:
        """Wait for a turn.

        Raises:
            LimitExceeded: with advice when to come again, if it did not come in time.
            RetrievalUnavailable: if that is because nothing is brought in any more.
        """
        remaining = time_remaining()
        patience = _PATIENCE_SECONDS if remaining is None else remaining * _PATIENCE_SHARE
        try:
            async with asyncio.timeout(patience):
                await self._free.acquire()
        except TimeoutError as error:
            detail = f"no turn to open a cell within {patience:.2f} s"
            raise busy_or_stuck(detail, moved_at=self._ended_at) from error
        return OpeningTurn(self._free.release, self._note_end)

    def _note_end(self) -> None:
        self._ended_at = time.monotonic()
