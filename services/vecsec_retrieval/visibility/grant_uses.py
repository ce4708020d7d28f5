"""What grants that cross tenants are used for, kept until the policy service has taken it down for the record.

It is bounded by refusing: where no more can be kept, callers of other tenants wait until what was done is told.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vecsec_chassis.calls import unique_id
from vecsec_chassis.domain.errors import AuditUnavailable

MOST_USES = 10_000
_MOST_BYTES = 32 * 1024 * 1024
_BYTES_BESIDE_A_GRANT = 512
_MOST_TOLD_AT_ONCE = 100
"""As in the contract."""
_BYTES_TOLD_AT_ONCE = 256 * 1024
_RETRY_SECONDS = 5.0


@dataclass(slots=True)
class GrantUse:
    """What one grant was used for since it was told last."""

    grant: str
    start: float
    """Seconds since the epoch: when the first of the calls was."""
    end: float
    """When the last was."""
    calls: int = 0
    rows: int = 0
    """How many rows, or ids of rows, these calls gave, stored or deleted."""
    refusals: int = 0
    """How often the policy service did not take it."""
    use_id: str = field(default_factory=unique_id)
    """The same however often it is told."""

    @property
    def weight(self) -> int:
        """How many bytes of memory it takes, about."""
        return _BYTES_BESIDE_A_GRANT + len(self.grant)


class GrantUses:
    """Counts; for one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[str, GrantUse] = {}
        """By grant: what nobody was told of."""
        self._being_told: dict[str, GrantUse] = {}
        """By use id: what was handed out, and may have arrived or not. Nothing is added to it any more."""
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many uses are not known to have been taken down."""
        return len(self._open) + len(self._being_told)

    @property
    def oldest_seconds(self) -> float:
        """For how long the first of them has waited; 0 if there is none."""
        starts = [use.start for uses in (self._open, self._being_told) for use in tuple(uses.values())]
        return max(self._clock() - min(starts), 0.0) if starts else 0.0

    def count_call(self, grant: str) -> None:
        """One more call by a verified grant that crosses tenants.

        Raises:
            AuditUnavailable: if no more can be kept.
        """
        self._use(grant, may_refuse=True).calls += 1

    def count_rows(self, grant: str, rows: int) -> None:
        """So many rows, or ids of rows, were given, stored or deleted by a call that was counted."""
        if rows:
            self._use(grant, may_refuse=False).rows += rows

    def hand_out(self) -> Sequence[GrantUse]:
        """Some of what is to be told, what was handed out before first; empty if there is nothing."""
        for grant, use in list(self._open.items()):
            if self._being_told and not self._has_room_for(use):
                break
            self._being_told[use.use_id] = self._open.pop(grant)
        return tuple(self._being_told.values())

    def let_go(self, use: GrantUse) -> None:
        """It was taken down, or never will be."""
        if self._being_told.pop(use.use_id, None) is not None:
            self._bytes -= use.weight

    def _has_room_for(self, use: GrantUse) -> bool:
        told = self._being_told.values()
        return len(told) < _MOST_TOLD_AT_ONCE and sum(each.weight for each in told) + use.weight <= _BYTES_TOLD_AT_ONCE

    def _use(self, grant: str, *, may_refuse: bool) -> GrantUse:
        now = self._clock()
        use = self._open.get(grant)
        if use is None:
            use = GrantUse(grant, now, now)
            if may_refuse and (self.waiting >= MOST_USES or self._bytes + use.weight > _MOST_BYTES):
                raise AuditUnavailable(
                    "what callers of other tenants do cannot be recorded now, so they may do nothing; try again in a "
                    "moment",
                    retry_after=_RETRY_SECONDS,
                )
            self._open[grant] = use
            self._bytes += use.weight
        use.end = now
        return use
