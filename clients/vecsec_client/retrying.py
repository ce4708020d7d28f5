"""When a call is tried again, and after how long: one policy for both clients.

Denials, bad requests and faults are never tried again: they would only fail again, and cost the services twice.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from grpc import StatusCode
from tenacity import RetryCallState, retry_if_exception
from tenacity.retry import retry_base

from vecsec_client.errors import VecSecError

_REAL_RETRIEVAL_OFF = "REAL_RETRIEVAL_OFF"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient a client is. The timeout of a call bounds all its tries together."""

    attempts: int = 4
    """How often a call is tried at most, the first try included; 1 means no retry."""
    initial_wait_seconds: float = 0.1
    """The upper end of the first random wait; it doubles from try to try."""
    longest_wait_seconds: float = 5.0
    """Where the doubling ends. What a service advises is waited even if it is longer."""

    def wait_seconds(self, attempt: int, advised: float | None) -> float:
        """How long to wait after the given try (from 1): what the service advises, and a random share of the backoff.

        The randomness keeps callers that failed together from coming back together.
        """
        backoff = min(self.longest_wait_seconds, self.initial_wait_seconds * 2.0 ** min(attempt - 1, 32))
        return (advised or 0.0) + random.uniform(0, backoff)  # noqa: S311 (spreads load, keeps no secret)


NO_RETRIES = RetryPolicy(attempts=1)
"""Every failure reaches the caller at once."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed later.

    A flag that an operator has switched off is not waited for, and a limit only if the service says for how long.
    """
    if not isinstance(error, VecSecError) or error.reason == _REAL_RETRIEVAL_OFF:
        return False
    if error.retry_after is not None:
        return error.code in {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED}
    return error.code is StatusCode.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, or never."""

    at: float | None

    @classmethod
    def after(cls, timeout: float | None) -> "Deadline":
        """So many seconds from now; None means never."""
        return cls(None if timeout is None else time.monotonic() + timeout)

    def remaining(self) -> float | None:
        """Seconds left, at least 0; None if there is no deadline."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    def allows(self, wait: float) -> bool:
        """Whether something can still be done after such a wait."""
        remaining = self.remaining()
        return remaining is None or wait < remaining


class RetryArguments(TypedDict):
    """What tenacity's `Retrying` and `AsyncRetrying` both take."""

    retry: retry_base
    wait: Callable[[RetryCallState], float]
    stop: Callable[[RetryCallState], bool]
    reraise: bool


def retry_arguments(policy: RetryPolicy, deadline: Deadline) -> RetryArguments:
    """The policy for tenacity; the last error comes out as it is."""

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        return policy.wait_seconds(state.attempt_number, error.retry_after if isinstance(error, VecSecError) else None)

    def is_over(state: RetryCallState) -> bool:
        return state.attempt_number >= policy.attempts or not deadline.allows(state.upcoming_sleep)

    return {"retry": retry_if_exception(is_transient), "wait": wait, "stop": is_over, "reraise": True}
