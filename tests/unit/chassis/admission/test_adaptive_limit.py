"""The limit learns from what calls take: few where more calls only wait for one another, many where they do not."""

from collections.abc import Callable

from vecsec_chassis.admission.adaptive_limit import AdaptiveLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def settled(seconds_of: Callable[[int], float], *, windows: int = 200, is_late: bool = True) -> AdaptiveLimit:
    """A limit after a long time with always another call; what one takes depends on how many there are."""
    clock = Clock()
    limit = AdaptiveLimit(clock, lowest=3, initial=16, highest=100)
    for at_once in (1, 2, 3) * 10:
        clock.now += 0.05
        limit.sample("Search", seconds_of(at_once), at_once, is_late=is_late)
    for _ in range(windows * 10):
        clock.now += 0.03
        limit.sample("Search", seconds_of(limit.limit), limit.limit, is_late=is_late)
    return limit


def test_calls_that_share_one_processor_are_few_at_once() -> None:
    assert 3 <= settled(lambda at_once: 0.002 + 0.003 * at_once).limit <= 8


def test_calls_that_wait_for_something_else_are_many_at_once() -> None:
    assert settled(lambda _at_once: 0.02).limit == 100


def test_a_slow_store_is_no_reason_to_serve_fewer() -> None:
    assert settled(lambda at_once: 0.002 + 0.003 * at_once, is_late=False).limit >= 16


def test_the_limit_comes_back_after_a_trouble() -> None:
    clock = Clock()
    limit = AdaptiveLimit(clock, lowest=3, initial=16, highest=100)
    for number in range(600):
        clock.now += 0.03
        slow = 100 <= number < 200
        limit.sample("Search", 0.5 if slow else 0.02, 1 if number < 20 else limit.limit, is_late=True)
        if number == 199:
            assert limit.limit < 16
    assert limit.limit > 16


def test_dear_methods_beside_cheap_ones_do_not_count_as_a_delay() -> None:
    clock = Clock()
    limit = AdaptiveLimit(clock, lowest=3, initial=16, highest=100)
    for number in range(2_000):
        clock.now += 0.03
        method, seconds = ("Explain", 0.5) if number % 3 else ("Search", 0.005)
        limit.sample(method, seconds, 1 if number < 100 else limit.limit, is_late=True)
    assert limit.limit == 100


def test_without_demand_the_limit_stays() -> None:
    clock = Clock()
    limit = AdaptiveLimit(clock, initial=16)
    for _ in range(500):
        clock.now += 0.03
        limit.sample("Search", 0.02, 1, is_late=True)
    assert limit.limit == 16


def test_a_start_into_an_overload_makes_a_calm_moment_of_its_own() -> None:
    clock = Clock()
    limit = AdaptiveLimit(clock, lowest=3, initial=16)
    clock.now += 1
    limit.sample("Search", 0.2, 16, is_late=True)
    assert limit.limit == 3
    clock.now += 0.3
    assert limit.limit == 16
