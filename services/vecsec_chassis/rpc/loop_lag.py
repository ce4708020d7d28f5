"""How late the event loop is while calls are served: what comes next waits for as long."""

import asyncio

_LOOK_SECONDS = 0.02
_SMOOTHING = 0.2


class LoopLag:
    """Looks fifty times a second while there is something to serve."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """How late it was, lately."""
        self._served = 0
        self._looks = False

    def begin(self) -> None:
        """A call is served."""
        self._served += 1
        if not self._looks:
            self._looks = True
            self._look_again(asyncio.get_running_loop())

    def end(self) -> None:
        """It no longer is."""
        self._served -= 1

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _LOOK_SECONDS
        loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.seconds += _SMOOTHING * (loop.time() - due - self.seconds)
        if self._served:
            self._look_again(loop)
        else:
            self._looks = False
            self.seconds = 0.0
