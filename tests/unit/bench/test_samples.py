"""The arithmetic of loads: no waiting is left out, and nothing counts that was seen of half the load."""

import asyncio

import pytest
from bench.load_client import open_loop
from bench.samples import Sample, Window, due_times, from_first_to_last, summary, while_all_were_at_it


def test_an_open_loop_is_due_at_a_fixed_rate() -> None:
    assert list(due_times(rate=4, seconds=1.5)) == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


async def test_an_open_loop_waits_for_no_answer() -> None:
    sent = 0
    all_are_sent = asyncio.Event()

    async def send() -> bool:
        nonlocal sent
        sent += 1
        if sent == 5:
            all_are_sent.set()
        await all_are_sent.wait()  # never, if a request were sent only after the one before is answered
        return True

    samples = await open_loop(send, due_times(rate=1_000, seconds=0.005))
    assert sent == len(samples) == 5


async def test_a_sender_that_is_late_counts_its_own_lateness() -> None:
    async def send() -> bool:
        return True

    late = await open_loop(send, [-1.0])  # a second before the loop begins
    assert late[0].seconds >= 1.0


def test_a_stall_is_seen_by_all_who_were_due_during_it() -> None:
    """One server, 1 ms a request, that stands still for a second: what a closed loop would count once."""
    free_at, samples = 0.0, []
    for due in due_times(rate=100, seconds=2):
        begins = max(due, free_at, 1.0 if due >= 0.01 else 0.0)
        free_at = begins + 0.001
        samples.append(Sample(due, free_at))
    found = summary([from_first_to_last(samples)]).latency
    assert found.p50 > 10
    assert found.p99 > 900


def test_a_closed_loop_counts_while_every_caller_is_at_work() -> None:
    first = [Sample(0, 1), Sample(1, 2), Sample(2, 3), Sample(3, 4)]
    second = [Sample(1.5, 2.5), Sample(2.5, 5)]
    window = while_all_were_at_it([first, second])
    assert window.seconds == 2.5
    assert window.samples == [Sample(1, 2), Sample(2, 3), Sample(3, 4), Sample(1.5, 2.5)]


def test_a_caller_without_an_answer_is_no_load() -> None:
    with pytest.raises(ValueError, match="make turns longer"):
        while_all_were_at_it([[Sample(0, 1)], []])


def test_windows_are_summed_up_by_their_own_length() -> None:
    slow, quick = [Sample(0, 2)], [Sample(10, 10.5, is_ok=False), Sample(10.5, 11), Sample(11, 12)]
    found = summary([Window(slow, 2.0), Window(quick, 2.0)])
    assert (found.rate, found.errors, found.answers) == (1.0, 1, 4)
