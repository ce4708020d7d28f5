"""Refusals are told at once to whom there are few, and slowly to who is refused all the time."""

from vecsec_chassis.admission.refusal_pace import LONGEST_SECONDS, RefusalPace


def test_few_refusals_are_told_at_once_and_many_are_held_back() -> None:
    now = 0.0
    pace = RefusalPace(lambda: now)
    waits = [pace.begin("loud", None) for _ in range(1_000)]
    assert waits[:20] == [0.0] * 20
    assert waits[20] > 0
    assert max(waits) == waits[-1] == LONGEST_SECONDS
    assert pace.begin("quiet", None) == 0.0
    now = 60.0
    assert pace.begin("loud", None) == 0.0, "who stops is forgiven"


def test_nobody_is_held_until_its_deadline() -> None:
    pace = RefusalPace(lambda: 0.0)
    waits = [pace.begin("loud", 1.0) for _ in range(1_000)]
    assert max(waits) == 0.5


def test_no_more_are_held_than_fit() -> None:
    pace = RefusalPace(lambda: 0.0)
    held = [wait for _ in range(3_000) if (wait := pace.begin("loud", None))]
    assert len(held) == 2_048
    for _ in held:
        pace.end()
    assert pace.begin("loud", None) > 0
