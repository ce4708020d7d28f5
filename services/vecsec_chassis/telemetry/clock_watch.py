"""Notices a clock that jumps: grants and tokens end by the clock of the wall, and nothing else tells why they suddenly
do not hold."""

import asyncio
import time
from collections.abc import Callable

import structlog
from opentelemetry.metrics import Meter

from vecsec_chassis.telemetry.metrics import LabelledCounter

log = structlog.get_logger()

INTERVAL_SECONDS = 1.0
_JUMP_SECONDS = 2.0
"""Time services slew smaller differences away; grants allow for as much."""


class ClockWatch:
    """Compares the clock of the wall with one that only ever runs forward at its own pace."""

    def __init__(
        self,
        meter: Meter,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Both clocks are in seconds."""
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._jumps = LabelledCounter(
            meter, "vecsec_clock_jumps", "Jumps of the system's clock, by direction.", "direction"
        )
        for direction in ("forward", "backward"):
            self._jumps.add(0, direction)

    def look(self) -> float:
        """How many seconds the clock has jumped since the last look; negative is backward, 0.0 is no jump."""
        offset = self._wall() - self._steady()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) < _JUMP_SECONDS:
            return 0.0
        self._jumps.add(1, "forward" if jump > 0 else "backward")
        log.warning(
            "the system's clock jumped: grants and tokens signed before may be refused, or live longer",
            seconds=round(jump, 1),
        )
        return jump

    async def run(self, on_jump: Callable[[], object]) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            if self.look():
                on_jump()
