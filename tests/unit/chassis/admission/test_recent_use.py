"""What tenants used lately; a clock that stands still until it is told."""

import pytest

from vecsec_chassis.admission.recent_use import RecentUse
from vecsec_chassis.admission.waiting_calls import WaitingCalls


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_what_lies_back_counts_less() -> None:
    clock = Clock()
    use = RecentUse(clock)
    use.add("early", 2.0)
    clock.now += 3
    use.add("late", 1.0)
    assert use.of("early") < use.of("late")
    use.add("early", 1.0)
    assert use.of("early") > use.of("late")


def test_nothing_is_kept_of_who_uses_nothing_any_more() -> None:
    clock = Clock()
    use = RecentUse(clock)
    for number in range(100):
        use.add(f"tenant {number}", 1.0)
    for _ in range(1_000):
        clock.now += 17.0
        use.add("a", 1.0)
    assert list(use._sums) == ["a"]
    assert use._total == pytest.approx(use.of("a"))


def test_a_share_is_the_mean_of_those_who_use_anything() -> None:
    use = RecentUse(Clock())
    assert not use.exceeds("a", 1.0)
    use.add("a", 3.0)
    assert not use.exceeds("a", 1.0), "alone it has no more than the mean"
    assert use.exceeds("a", 0.5)
    use.add("b", 1.0)
    assert use.exceeds("a", 1.0)
    assert not use.exceeds("b", 0.5)
    use.add("a", -5.0)
    assert use.of("a") == 0.0


def test_who_used_least_is_next_and_within_a_tenant_who_came_first() -> None:
    used = {"a": 2.0, "b": 1.0, "c": 1.0}
    calls: WaitingCalls[str] = WaitingCalls()
    for call in ("a1", "b1", "c1", "b2"):
        calls.add(call[0], call)
    taken = []
    while (tenant_id := calls.next_tenant(used.__getitem__)) is not None:
        taken.append(calls.take(tenant_id))
    assert taken == ["b1", "b2", "c1", "a1"]
    assert (len(calls), calls.tenants) == (0, 0)
    calls.add("a", "a2")
    calls.remove("a", "a1")
    calls.remove("b", "b1")
    assert calls.count("a") == 1
