"""A cell whose file is not as VecSec left it is looked through row by row: searches in a snapshot would go on while
what it is derived from is torn. Who writes waits for that, for nothing may be acknowledged into a damaged cell."""

import asyncio
from functools import partial

from vecsec_chassis.calls import time_remaining
from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable, StoreDamaged
from vecsec_retrieval.model.store import ChangeLog
from vecsec_retrieval.store_threads import StoreThreads

_ROWS_AT_ONCE = 100
"""5 ms."""
_PAUSE_SECONDS = 0.01
"""For others have more urgent work, unless somebody waits."""
_AGAIN_SECONDS = 1.0
_PATIENCE_SHARE = 0.8
"""Such a share of its time a write waits."""
_RETRY_SECONDS = 2.0


class LookThrough:
    """The look at one open cell. Used on the event loop."""

    def __init__(self, change_log: ChangeLog | None, threads: StoreThreads) -> None:
        self._log = change_log
        self._threads = threads
        self._ended = asyncio.Event()
        self._waiting = 0
        self.is_complete = change_log is None or change_log.is_looked_through
        """Whether all rows are whole."""
        if self.is_complete:
            self._ended.set()

    def give_up(self) -> None:
        """Look no further: the cell is about to be closed."""
        self._ended.set()

    async def run(self) -> None:
        """Look at all rows, a few at a time.

        Raises:
            StoreDamaged: if one is torn.
        """
        position: int | None = 0
        try:
            while position is not None and not self._ended.is_set():
                position = await self._beyond(position)
            self.is_complete = position is None
        finally:
            self._ended.set()

    async def wait(self) -> None:
        """Wait until all rows were looked at.

        Raises:
            RetrievalUnavailable: if that takes longer than the call has, or ended otherwise.
        """
        if self.is_complete:
            return
        self._waiting += 1
        remaining = time_remaining()
        try:
            async with asyncio.timeout(None if remaining is None else remaining * _PATIENCE_SHARE):
                await self._ended.wait()
        except TimeoutError as error:
            raise RetrievalUnavailable(
                "the vector store was not closed in good order, and its rows are being looked at before anything is "
                "written; try again",
                retry_after=_RETRY_SECONDS,
            ) from error
        finally:
            self._waiting -= 1
        if not self.is_complete:  # one is torn, which the next call is told, or the cell is being closed
            raise RetrievalUnavailable("the vector store is being read anew; try again", retry_after=_RETRY_SECONDS)

    async def _beyond(self, position: int) -> int | None:
        assert self._log is not None
        look = partial(self._log.look_through, after=position, count=_ROWS_AT_ONCE)
        try:
            reached = await self._threads.run("look_through", look)
        except StoreDamaged:
            raise
        except (LimitExceeded, RetrievalUnavailable):
            await asyncio.sleep(_AGAIN_SECONDS)  # there is too much else to do
            return position
        if not self._waiting:
            await asyncio.sleep(_PAUSE_SECONDS)
        return reached
