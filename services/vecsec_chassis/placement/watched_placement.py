"""The placement file while it changes: a good one is in force at once, a wrong one is told and changes nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from opentelemetry.metrics import Meter

from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import FileContent, SettledChanges, file_content, keep_looking
from vecsec_chassis.placement.placement import Placement
from vecsec_chassis.placement.placement_file import SETTING, demand_successor, load_placement, parse_placement
from vecsec_chassis.telemetry.metrics import observe_value

log = structlog.get_logger()

_RETRY_SECONDS = 10.0


def observe_placement(meter: Meter, *, epoch: Callable[[], int], is_refused: Callable[[], bool]) -> None:
    """Show which placement is in force; the epoch is 0 where there is none, and one service has all tenants."""
    observe_value(
        meter,
        "vecsec_placement_file_refused",
        "Whether the placement file as it is now was refused (1), so that the last good one is in force.",
        is_refused,
    )
    observe_value(
        meter,
        "vecsec_placement_epoch",
        "The epoch of the placement in force; services that show different ones have read different files.",
        epoch,
    )


class WatchedPlacement:
    """The placement in force."""

    def __init__(
        self,
        path: Path,
        meter: Meter,
        *,
        demand: Callable[[Placement], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file; `demand` is asked last, and refuses by a ConfigurationError what this service cannot take.

        Raises:
            ConfigurationError: naming the file and what is wrong with it.
        """
        self._path = path
        self._demand = demand
        self._files = SettledChanges(lambda: file_content(path))
        self._current = load_placement(path)
        demand(self._current)
        self._turn = asyncio.Lock()
        self._complaint: str | None = None
        self._clock = clock
        self._waiting: tuple[float, FileContent] | None = None
        """A file that was refused, and when to judge it again: what it met here may have passed."""
        self._on_change: list[Callable[[], object]] = []
        self._errors = meter.create_counter(
            "vecsec_placement_file_errors",
            description="Changed placement files that could not be taken; the last good one stays.",
        )
        self._errors.add(0)  # so that `rate()` sees the first one
        observe_placement(meter, epoch=lambda: self._current.epoch, is_refused=lambda: self._complaint is not None)

    @property
    def current(self) -> Placement:
        """What is in force."""
        return self._current

    def on_change(self, tell: Callable[[], object]) -> None:
        """Tell of each placement that comes into force, at once."""
        self._on_change.append(tell)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look for changes until the block ends."""
        async with running_in_background(keep_looking(self.look), "watch the placement file"):
            yield

    async def look(self) -> None:
        """Judge each state in which the file comes to rest; also because somebody seems to know a newer one."""
        async with self._turn:
            found = await self._files.changed_content()
            if found is None and self._waiting is not None and self._clock() >= self._waiting[0]:
                found = self._waiting[1]
            if found is not None:
                self._judge(found)

    def _judge(self, found: FileContent) -> None:
        try:
            placement = self._taken(found)
        except ConfigurationError as bad:
            if str(bad) != self._complaint:
                self._errors.add(1)
                log.error("changed placement refused, the last good one stays", reason=str(bad))
            self._complaint = str(bad)
            self._waiting = self._clock() + _RETRY_SECONDS, found
            return
        self._complaint, self._waiting = None, None
        self._put(placement)

    def _taken(self, found: FileContent) -> Placement:
        placement = parse_placement(found, self._path)
        try:
            demand_successor(placement, self._current)
            self._demand(placement)
        except ConfigurationError as bad:
            raise ConfigurationError(f"{SETTING}={self._path}: {bad}") from bad
        return placement

    def _put(self, placement: Placement) -> None:
        if placement == self._current:
            return
        before, self._current = self._current, placement
        log.info(
            "placement taken anew",
            file=str(self._path),
            epoch=placement.epoch,
            epoch_before=before.epoch,
            shards=[shard.name for shard in placement.shards],
            pinned=len(placement.pinned),
        )
        for tell in self._on_change:
            tell()
