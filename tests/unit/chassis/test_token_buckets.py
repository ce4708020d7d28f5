"""Rates that are kept, by a clock of the test's own."""

import pytest

from vecsec_chassis.domain.token_buckets import RecentRate, TokenBucket


def test_two_seconds_are_saved_up_and_then_the_rate_is_kept() -> None:
    bucket = TokenBucket(10.0, now=0.0)
    for _ in range(20):
        assert bucket.wait_for(1.0, 0.0) == 0
        bucket.take(1.0)
    assert bucket.wait_for(1.0, 0.0) == pytest.approx(0.1), "the real wait"
    assert bucket.wait_for(1.0, 0.1) == 0
    bucket.take(1.0)
    assert bucket.wait_for(5.0, 0.1) == pytest.approx(0.5)


def test_what_costs_more_than_is_ever_saved_up_passes_when_all_is_and_leaves_a_debt() -> None:
    bucket = TokenBucket(10.0, now=0.0)
    assert bucket.wait_for(100.0, 0.0) == 0
    bucket.take(100.0)
    assert bucket.wait_for(1.0, 0.0) == pytest.approx(8.1)
    assert bucket.wait_for(100.0, 0.0) == pytest.approx(10.0)


def test_a_lower_rate_takes_what_was_saved_up_beyond_it() -> None:
    bucket = TokenBucket(1_000.0, now=0.0)
    bucket.set_rate(1.0)
    bucket.take(2.0)
    assert bucket.wait_for(1.0, 0.0) == pytest.approx(1.0)


def test_a_rate_is_the_mean_of_ten_seconds() -> None:
    rate = RecentRate(now=0.0)
    for second in range(5):
        rate.add(20.0, second + 0.5)
    assert rate.per_second(4.9) == pytest.approx(10.0)
    assert rate.per_second(12.0) == pytest.approx(4.0), "seconds 3 and 4 are left"
    assert rate.per_second(1_000.0) == 0.0
