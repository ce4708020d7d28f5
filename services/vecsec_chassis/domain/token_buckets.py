"""Rates that are kept: what may be taken in a second, with some saved up. Pure: the time is told."""

_SAVED_UP_SECONDS = 2.0
"""So much of a rate may be taken at once, by who took nothing before."""


class TokenBucket:
    """Something that fills at a rate. Who takes more than it ever holds waits until it is full, and leaves a debt."""

    __slots__ = ("_balance", "_burst", "_rate", "_refilled_at")

    def __init__(self, rate: float, now: float) -> None:
        """A full one; `rate` is in units a second, `now` in seconds of a clock that only goes forward."""
        self._rate = rate
        self._burst = self._balance = _burst(rate)
        self._refilled_at = now

    def set_rate(self, rate: float) -> None:
        """From now on it fills at this rate."""
        if rate != self._rate:
            self._rate, self._burst = rate, _burst(rate)
            self._balance = min(self._balance, self._burst)

    def wait_for(self, cost: float, now: float) -> float:
        """How many seconds it takes until so many units may be taken; 0 if they may be now. Nothing is taken."""
        self._balance = min(self._balance + (now - self._refilled_at) * self._rate, self._burst)
        self._refilled_at = now
        return max(min(cost, self._burst) - self._balance, 0.0) / self._rate

    def take(self, cost: float) -> None:
        """Take so many units, which `wait_for` said that may be."""
        self._balance -= cost


class RecentRate:
    """How much there was of something in a second, over the last ten."""

    __slots__ = ("_amounts", "_second")
    SECONDS = 10

    def __init__(self, now: float) -> None:
        """`now` is in seconds of a clock that only goes forward."""
        self._second = int(now)
        self._amounts = [0.0] * self.SECONDS

    def add(self, amount: float, now: float) -> None:
        """There was so much now."""
        self._go_to(int(now))
        self._amounts[self._second % self.SECONDS] += amount

    def per_second(self, now: float) -> float:
        """The mean of the last ten seconds."""
        self._go_to(int(now))
        return sum(self._amounts) / self.SECONDS

    def _go_to(self, second: int) -> None:
        for passed in range(min(second - self._second, self.SECONDS)):
            self._amounts[(second - passed) % self.SECONDS] = 0.0
        self._second = max(second, self._second)


def _burst(rate: float) -> float:
    return max(rate * _SAVED_UP_SECONDS, 1.0)
