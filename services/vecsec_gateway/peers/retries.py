"""Retries with exponential, jittered waits that end before the deadline does (tenacity), within a budget, so that a
struggling peer gets a little more traffic than usual and not a multiple of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential
from tenacity.stop import stop_after_attempt, stop_any, stop_base, stop_before_delay
from tenacity.wait import wait_base

from vecsec_chassis.domain.errors import VecSecError
from vecsec_gateway.peers.deadline import Deadline

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How a call to a peer is tried again."""

    attempts: int
    """At most, with the first one."""
    may_pass: Callable[[VecSecError], bool]
    """Which errors may pass by themselves; all others, denials above all, are final at once."""
    on_retry: Callable[[], None]
    """Told of each retry."""
    first_wait_seconds: float = 0.05
    longest_wait_seconds: float = 1.0
    """Also the longest advice of a peer that is waited out; where it asks for more, there is no retry."""

    def allow(self, error: BaseException) -> bool:
        """Whether trying again after this error may help."""
        return (
            isinstance(error, VecSecError)
            and self.may_pass(error)
            and (error.retry_after or 0.0) <= self.longest_wait_seconds
        )


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


class _Wait(wait_base):
    """Exponential and jittered, and no shorter than a peer has asked for."""

    def __init__(self, rules: RetryRules) -> None:
        self._backoff = wait_random_exponential(multiplier=rules.first_wait_seconds, max=rules.longest_wait_seconds)

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        advice = error.retry_after if isinstance(error, VecSecError) else None
        return max(self._backoff(state), advice or 0.0)


class _StopWithoutBudget(stop_base):
    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def __call__(self, _state: RetryCallState) -> bool:
        return not self._budget.withdraw()


async def retried(
    attempt: Callable[[], Awaitable[Result]], *, rules: RetryRules, deadline: Deadline, budget: RetryBudget
) -> Result:
    """Try until it works, until the error is final, or until attempts, budget or time are used up.

    Raises:
        whatever the last attempt raised.
    """

    budget.deposit()
    try:
        return await attempt()  # nearly always the end of it; tenacity's own machinery costs 50 µs a call
    except VecSecError as error:
        if not rules.allow(error):
            raise
        failures = [error]

    async def attempt_again() -> Result:
        if failures:
            raise failures.pop()  # the first attempt, for tenacity to count
        return await attempt()

    retrying = AsyncRetrying(
        retry=retry_if_exception(rules.allow),
        wait=_Wait(rules),
        # The budget comes last: it is only charged for a retry that is really made.
        stop=stop_any(
            stop_after_attempt(rules.attempts), stop_before_delay(deadline.remaining()), _StopWithoutBudget(budget)
        ),
        before_sleep=lambda _state: rules.on_retry(),
        reraise=True,
    )
    return await retrying(attempt_again)
