"""Whose turn it is: keys share alike, whatever number waits under one of them."""

from hypothesis import given
from hypothesis import strategies as st

from vecsec_chassis.admission.fair_queue import FairQueue


def taken(queue: FairQueue[str], count: int) -> list[str]:
    return [item for _ in range(count) if (item := queue.take()) is not None]


def test_keys_take_turns_and_the_oldest_of_each_comes_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.add("loud", f"loud {number}")
    queue.add("quiet", "quiet 0")
    assert taken(queue, 9) == ["loud 0", "quiet 0", "loud 1", "loud 2"]
    assert len(queue) == 0


def test_who_comes_anew_is_next_however_many_wait() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.add("loud", f"loud {number}")
        queue.add("louder", f"louder {number}")
    taken(queue, 50)
    queue.add("quiet", "quiet")
    assert "quiet" in taken(queue, 3)


def test_a_weight_of_two_is_two_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(60):
        queue.add("heavy", "heavy", weight=2.0)
        queue.add("light", "light")
    assert taken(queue, 60).count("heavy") == 40


def test_who_no_longer_waits_is_passed_over() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("one", "a")
    queue.add("two", "b")
    queue.remove("one", "a")
    queue.remove("one", "a")
    assert (len(queue), queue.keys_waiting, queue.count("one")) == (1, 1, 0)
    assert taken(queue, 2) == ["b"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_nothing_is_lost_and_nothing_comes_twice(steps: list[tuple[str, bool]]) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for number, (key, adds) in enumerate(steps):
        if adds:
            queue.add(key, number)
            waiting[key].append(number)
        elif (item := queue.take()) is not None:
            [owner] = [name for name, items in waiting.items() if item in items]
            assert waiting[owner].pop(0) == item, "the oldest of its key"
        assert len(queue) == sum(map(len, waiting.values()))
