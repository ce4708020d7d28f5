"""How much tenants used lately: who comes next, and who has more than its share. Pure but for a clock."""

from collections.abc import Callable
from math import exp

_FADES_SECONDS = 2.0
"""After which what was used counts a third: long enough to tell who fills a service, short enough that nobody pays for
what it used while nobody else was there."""
_SETTLE_SECONDS = 20.0
_FORGOTTEN_SHARE = 0.01
"""Of the mean: below it a tenant is no longer one of those who use the service."""


class RecentUse:
    """Sums by tenant that fade. All fade alike, so that they are kept as if nothing had faded since a moment."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._since = clock()
        self._sums: dict[str, float] = {}
        self._total = 0.0

    def add(self, tenant_id: str, amount: float) -> None:
        """A tenant used so much more; less, where it was charged too much before."""
        now = self._clock()
        if now - self._since >= _SETTLE_SECONDS:
            self._settle(now)
        known = self._sums.get(tenant_id, 0.0)
        changed = max(known + amount * exp((now - self._since) / _FADES_SECONDS), 0.0)
        self._sums[tenant_id] = changed
        self._total += changed - known

    def of(self, tenant_id: str) -> float:
        """What a tenant used, to be compared with what others did."""
        return self._sums.get(tenant_id, 0.0)

    def exceeds(self, tenant_id: str, times: float) -> bool:
        """Whether a tenant used more than so many times the mean of those who use anything."""
        return self.of(tenant_id) * len(self._sums) > times * self._total

    def _settle(self, now: float) -> None:
        """Let fade, and forget who uses nothing."""
        forgotten = _FORGOTTEN_SHARE * self._total / max(len(self._sums), 1)
        faded = exp((self._since - now) / _FADES_SECONDS)
        self._sums = {each: used * faded for each, used in self._sums.items() if used > forgotten}
        self._total = sum(self._sums.values())
        self._since = now
