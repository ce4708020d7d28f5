"""Retries: only what may pass, only within attempts, budget and deadline."""

import asyncio
import time
from dataclasses import replace

import pytest
from support.waiting import until_all_wait

from vecsec_chassis.domain.errors import AccessDenied, InvalidRequest, LimitExceeded, RetrievalUnavailable, VecSecError
from vecsec_gateway.peers.call import Deadline, RetryBudget, RetryRules, retried


class Peer:
    """Fails with these errors, one after the other, then answers."""

    def __init__(self, *errors: Exception, forever: Exception | None = None) -> None:
        self.errors = list(errors)
        self.forever = forever
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        error = self.errors.pop(0) if self.errors else self.forever
        if error is not None:
            raise error
        return "answer"


RULES = RetryRules(
    attempts=3,
    may_pass=lambda error: isinstance(error, RetrievalUnavailable | LimitExceeded),
    on_retry=lambda: None,
    first_wait_seconds=0.001,
    longest_wait_seconds=0.2,
)


async def call(peer: Peer, rules: RetryRules = RULES, seconds: float = 60, budget: RetryBudget | None = None) -> str:
    return await retried(
        peer, rules=rules, deadline=Deadline.after(seconds), budget=budget or RetryBudget(time.monotonic)
    )


GONE = RetrievalUnavailable("gone")


async def test_what_passes_is_not_seen() -> None:
    retries: list[str] = []
    peer = Peer(GONE, GONE)
    assert await call(peer, replace(RULES, on_retry=lambda: retries.append("again"))) == "answer"
    assert (peer.calls, len(retries)) == (3, 2)


async def test_attempts_bound_it() -> None:
    peer = Peer(forever=GONE)
    with pytest.raises(RetrievalUnavailable):
        await call(peer)
    assert peer.calls == 3


@pytest.mark.parametrize(
    "error", [AccessDenied("no"), InvalidRequest.of("k", "too large"), VecSecError("fault"), ValueError("bug")]
)
async def test_denials_bad_requests_and_faults_are_final(error: Exception) -> None:
    peer = Peer(forever=error)
    with pytest.raises(type(error)):
        await call(peer)
    assert peer.calls == 1


async def test_a_cancelled_caller_is_not_kept() -> None:
    peer = Peer(forever=GONE)
    rules = replace(RULES, attempts=1000, first_wait_seconds=60, longest_wait_seconds=60)
    task = asyncio.create_task(call(peer, rules, seconds=600))
    await until_all_wait()
    assert (peer.calls, task.done()) == (1, False)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_deadline_bounds_it() -> None:
    peer = Peer(forever=GONE)
    hours_of_tries = replace(RULES, attempts=100_000, first_wait_seconds=0.2)
    plenty = RetryBudget(time.monotonic, burst=100_000)
    started = time.monotonic()
    with pytest.raises(RetrievalUnavailable):
        await call(peer, hours_of_tries, seconds=0.3, budget=plenty)
    assert time.monotonic() - started < 20


async def test_no_time_left_means_one_try() -> None:
    peer = Peer(forever=GONE)
    with pytest.raises(RetrievalUnavailable):
        await call(peer, seconds=-1)
    assert peer.calls == 1


async def test_advice_is_followed() -> None:
    started = time.monotonic()
    assert await call(Peer(LimitExceeded("busy", retry_after=0.15))) == "answer"
    assert time.monotonic() - started >= 0.15


async def test_advice_to_come_back_much_later_is_passed_on_instead() -> None:
    peer = Peer(forever=LimitExceeded("busy", retry_after=30))
    with pytest.raises(LimitExceeded):
        await call(peer)
    assert peer.calls == 1


async def test_the_budget_bounds_retries_over_all_calls() -> None:
    budget = RetryBudget(lambda: 0.0, ratio=0.2, burst=10)
    peer = Peer(forever=GONE)
    for _ in range(1000):
        with pytest.raises(RetrievalUnavailable):
            await call(peer, replace(RULES, first_wait_seconds=0), budget=budget)
    assert 1000 + 200 <= peer.calls <= 1000 + 200 + 10


def test_a_quiet_budget_refills_slowly_up_to_its_burst() -> None:
    now = 0.0
    budget = RetryBudget(lambda: now, minimum_per_second=1, burst=3)
    assert [budget.withdraw() for _ in range(4)] == [True, True, True, False]
    now = 1.0
    assert [budget.withdraw() for _ in range(2)] == [True, False]
    now = 1000.0
    assert [budget.withdraw() for _ in range(4)] == [True, True, True, False]
