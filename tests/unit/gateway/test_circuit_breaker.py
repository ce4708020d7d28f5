"""The circuit: what opens it, what does not, and how it closes."""

import asyncio
from contextlib import suppress

import pytest

from vecsec_chassis.domain.errors import AccessDenied, RetrievalUnavailable
from vecsec_gateway.peers.circuit_breaker import AttemptOutcome, CircuitBreaker, CircuitBreakers
from vecsec_gateway.peers.contract import CircuitOpen


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("tenant_a", clock, threshold=3, open_seconds=5)


def judge(error: BaseException) -> AttemptOutcome:
    if isinstance(error, RetrievalUnavailable):
        return AttemptOutcome.FAILED
    return AttemptOutcome.HEALTHY if isinstance(error, AccessDenied) else AttemptOutcome.UNKNOWN


def attempt(circuit: CircuitBreaker, error: BaseException | None = None) -> None:
    with circuit.attempt(judge):
        if error is not None:
            raise error


def fail(circuit: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RetrievalUnavailable):
            attempt(circuit, RetrievalUnavailable("gone"))


def test_failures_in_a_row_open_it_and_others_between_do_not(circuit: CircuitBreaker) -> None:
    fail(circuit, 2)
    attempt(circuit)
    fail(circuit, 2)
    with pytest.raises(AccessDenied):
        attempt(circuit, AccessDenied("no"))
    fail(circuit, 2)
    assert not circuit.is_open
    fail(circuit, 1)
    assert circuit.is_open
    with pytest.raises(CircuitOpen) as refused:
        attempt(circuit)
    assert refused.value.retry_after == 5


def test_callers_who_hang_up_say_nothing_about_the_peer(circuit: CircuitBreaker) -> None:
    for _ in range(10):
        with suppress(asyncio.CancelledError):
            attempt(circuit, asyncio.CancelledError())
    assert not circuit.is_open
    fail(circuit, 2)
    with suppress(asyncio.CancelledError):
        attempt(circuit, asyncio.CancelledError())
    fail(circuit, 1)
    assert circuit.is_open


def test_after_a_while_one_attempt_probes_and_the_others_wait(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 3)
    clock.now += 5
    with circuit.attempt(judge):
        with pytest.raises(CircuitOpen):
            attempt(circuit)
        assert circuit.is_open
    assert not circuit.is_open
    attempt(circuit)
    fail(circuit, 2)
    assert not circuit.is_open


def test_a_failed_probe_opens_it_again(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 3)
    clock.now += 5
    fail(circuit, 1)
    with pytest.raises(CircuitOpen) as refused:
        attempt(circuit)
    assert refused.value.retry_after == 5


def test_a_probe_that_is_hung_up_on_makes_room_for_the_next(circuit: CircuitBreaker, clock: Clock) -> None:
    fail(circuit, 3)
    clock.now += 5
    with suppress(asyncio.CancelledError):
        attempt(circuit, asyncio.CancelledError())
    assert circuit.is_open
    attempt(circuit)
    assert not circuit.is_open


def test_what_began_before_a_change_is_no_news_after_it(circuit: CircuitBreaker, clock: Clock) -> None:
    slow_success, slow_failure = circuit.attempt(judge), circuit.attempt(judge)
    slow_success.__enter__()
    slow_failure.__enter__()
    fail(circuit, 3)
    slow_success.__exit__(None, None, None)
    assert circuit.is_open
    clock.now += 4
    error = RetrievalUnavailable("late")
    slow_failure.__exit__(type(error), error, None)
    clock.now += 1
    attempt(circuit)
    assert not circuit.is_open


def test_each_tenant_has_its_own_and_their_number_is_bounded(clock: Clock) -> None:
    circuits = CircuitBreakers(clock, threshold=1, open_seconds=5, maximum=10)
    fail(circuits.of("slow"), 1)
    attempt(circuits.of("quick"))
    assert circuits.count_open() == 1
    for number in range(100):
        attempt(circuits.of(f"tenant_{number}"))
    assert circuits.count_open() == 0
