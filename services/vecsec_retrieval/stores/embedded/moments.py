"""Moments of cells that exports read: while one is held, nothing of the cell's log is forgotten that it consists of.

A moment's name is random and lives here alone. A position in the log that callers could choose would let them read
what was deleted or labelled anew long before.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vecsec_retrieval.model.store import moment_not_held

KEPT_SECONDS = 120.0
"""So long a moment is held after it was last read."""
LONGEST_SECONDS = 3_600.0
"""Longer it is never held, however often it is read: what was deleted, or labelled anew, would stay readable, and the
log never become shorter. An export of a million rows takes some minutes."""
MOST_OF_A_TENANT = 16
"""Beyond these the one that was read longest ago goes."""


@dataclass(slots=True)
class _Moment:
    position: int
    begun_at: float
    read_at: float


class Moments:
    """The moments that one process holds. Used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._of_tenant: dict[str, dict[str, _Moment]] = {}
        self._lock = threading.Lock()

    def hold(self, tenant_id: str, position: int) -> str:
        """Hold the moment when the tenant's log ended at this position; its name."""
        name = secrets.token_urlsafe(18)
        with self._lock:
            held = self._held(tenant_id)
            while len(held) >= MOST_OF_A_TENANT:
                del held[min(held, key=lambda each: held[each].read_at)]
            now = self._clock()
            held[name] = _Moment(position, now, now)
            self._of_tenant[tenant_id] = held
        return name

    def position(self, tenant_id: str, name: str) -> int:
        """Where the tenant's log ended at that moment, which is held on from now.

        Raises:
            InvalidRequest: if it is held no more, or is not one of the tenant's.
        """
        with self._lock:
            moment = self._held(tenant_id).get(name)
            if moment is None:
                raise moment_not_held()
            moment.read_at = self._clock()
            return moment.position

    def are_held(self, tenant_id: str) -> bool:
        """Whether any moment of the tenant's is held."""
        with self._lock:
            return bool(self._held(tenant_id))

    def forget(self, tenant_id: str) -> None:
        """Hold none of the tenant's any more."""
        with self._lock:
            self._of_tenant.pop(tenant_id, None)

    def _held(self, tenant_id: str) -> dict[str, _Moment]:
        """Those that are held still; the others are let go of."""
        now = self._clock()
        held = {
            name: moment
            for name, moment in self._of_tenant.pop(tenant_id, {}).items()
            if moment.read_at >= now - KEPT_SECONDS and moment.begun_at >= now - LONGEST_SECONDS
        }
        if held:
            self._of_tenant[tenant_id] = held
        return held
