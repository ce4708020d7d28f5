"""A budget for retries, so that a struggling peer gets a little more traffic than usual and not a multiple of it."""

from collections.abc import Callable


class RetryBudget:
    """A token bucket: each call puts a fraction of a retry in, each retry takes a whole one out.

    A small steady inflow keeps retries possible where there is little traffic.
    """

    def __init__(
        self, clock: Callable[[], float], *, ratio: float = 0.2, minimum_per_second: float = 1.0, burst: float = 10.0
    ) -> None:
        """`ratio` is how many retries a call pays for, `burst` how many can be saved up; `clock` is in seconds."""
        self._clock = clock
        self._ratio = ratio
        self._minimum_per_second = minimum_per_second
        self._burst = burst
        self._balance = burst
        self._refilled_at = clock()

    def deposit(self) -> None:
        """A call was made."""
        self._balance = min(self._balance + self._ratio, self._burst)

    def withdraw(self) -> bool:
        """Take one retry, if there is one."""
        now = self._clock()
        self._balance = min(self._balance + (now - self._refilled_at) * self._minimum_per_second, self._burst)
        self._refilled_at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
