"""How late the gateway itself is: what it does not get round to reading must not count as a peer's silence."""

import asyncio
import time
from collections import deque

_LOOK_SECONDS = 0.1
_REMEMBERED_SECONDS = 6.0
"""A little longer than a try at a peer may take."""
LATE_SECONDS = 0.25


class OwnDelay:
    """Watches how late a timer of the event loop is."""

    def __init__(self) -> None:
        self._late: deque[float] = deque()
        """When it was late."""

    @property
    def is_late(self) -> bool:
        """Whether the gateway was late, so that time that ran out lately says nothing about a peer."""
        end = time.monotonic() - _REMEMBERED_SECONDS
        while self._late and self._late[0] < end:
            self._late.popleft()
        return bool(self._late)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            due = time.monotonic() + _LOOK_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)
            if (now := time.monotonic()) - due > LATE_SECONDS:
                self._late.append(now)
