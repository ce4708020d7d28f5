"""One call to a peer: its deadline, the request id and span that travel along, and how it is tried again.

Waits between tries grow exponentially, with jitter, and end before the deadline does (tenacity). Retries have a budget,
so that a struggling peer gets a little more traffic than usual and not a multiple of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind, Tracer
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential
from tenacity.stop import stop_after_attempt, stop_any, stop_before_delay
from tenacity.wait import wait_base

from vecsec_chassis.calls import current_peers, current_request_id, current_span, is_traced
from vecsec_chassis.domain.errors import VecSecError
from vecsec_chassis.rpc.error_status import STATUS_OF_REASON
from vecsec_chassis.rpc.interceptors import PEERS_KEY, REQUEST_ID_KEY
from vecsec_chassis.rpc.span_status import STATUS_CODE, named, record_called

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Result = TypeVar("Result")
Metadata = tuple[tuple[str, str], ...]

_LONGEST_RESERVE_SECONDS = 1.0
_TOLD_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock."""

    at: float
    """Seconds."""

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """That many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - time.monotonic()

    def with_reserve(self, share: float) -> "Deadline":
        """An earlier deadline, so that this share of what remains (a second at most) is left for what comes after."""
        return Deadline(self.at - min(max(self.remaining(), 0.0) * share, _LONGEST_RESERVE_SECONDS))


async def call_unary(
    method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
    name: str,
    request: Request,
    *,
    seconds: float,
    tracer: Tracer,
    metadata: Metadata = (),
) -> Response:
    """Call a peer's method, which the span is named by; if this task is cancelled, so is the call. It may take so many
    seconds."""
    response: Response
    timeout = max(seconds, 0.0)
    if current_span() is None:  # to enter a context that does nothing costs as much as all else here
        response = await method(request, timeout=timeout, metadata=metadata + _outgoing())
        return response
    with traced(tracer, name) as outgoing:
        response = await method(request, timeout=timeout, metadata=metadata + outgoing)
        return response


@contextmanager
def traced(tracer: Tracer, name: str) -> Iterator[Metadata]:
    """A client span around a call; gives the metadata by which the peer continues the trace and the request.

    opentelemetry's own client interceptors never end the spans of calls that are cancelled. Where nothing is recorded
    there is no span to make: the context that came in is passed on.
    """
    if current_span() is None:
        yield _outgoing()
        return
    with tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes=named(name),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield _outgoing()
        except grpc.aio.AioRpcError as error:
            record_called(span, error.code())
            raise
        except VecSecError as error:
            record_called(span, STATUS_OF_REASON[error.reason])
            raise
        except asyncio.CancelledError:
            span.set_attribute(STATUS_CODE, grpc.StatusCode.CANCELLED.value[0])  # we hung up: no error of anybody's
            raise
        record_called(span, grpc.StatusCode.OK)


def _outgoing() -> Metadata:
    carrier: dict[str, str] = {}
    if is_traced():
        inject(carrier)
    peers = " ".join(current_peers())
    told = ((PEERS_KEY, peers.encode("ascii", "backslashreplace").decode()[:_TOLD_CHARACTERS]),) if peers else ()
    return ((REQUEST_ID_KEY, current_request_id()), *told, *carrier.items())


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

    is_over = stop_any(stop_after_attempt(rules.attempts), stop_before_delay(deadline.remaining()))
    retrying = AsyncRetrying(
        retry=retry_if_exception(rules.allow),
        wait=_Wait(rules),
        # The budget comes last: it is only charged for a retry that is really made.
        stop=lambda state: is_over(state) or not budget.withdraw(),
        before_sleep=lambda _state: rules.on_retry(),
        reraise=True,
    )
    return await retrying(attempt_again)
