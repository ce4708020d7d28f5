"""Row 22 of the threats: all who decide decide alike, by whatever policy is accepted; and the fuzz sees if not."""

import secrets
from collections.abc import Callable
from unittest.mock import patch

import pytest

from fuzz.case import Case, case_of, random_case
from fuzz.run import Progress, report, search
from fuzz.shrinking import shrunk
from fuzz.walls import differences
from vecsec_chassis.domain.label_schema import LabelSchema
from vecsec_policy.cedar import checking
from vecsec_retrieval.visibility import label_classes

VERDICTS = 50_000
"""Of each of the four parts: 200,000 together."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
async def test_plan_mask_check_and_cedar_agree(part: int) -> None:
    progress = Progress(secrets.randbelow(10**9))
    first = progress.seed
    while progress.verdicts < VERDICTS:
        odd = await search(progress)
        assert odd is None, await report(odd)
    assert progress.policies > progress.refused, f"part {part}, from seed {first} on: hardly a policy is accepted"


def test_a_seed_makes_the_same_case_again() -> None:
    assert random_case(7) == random_case(7)
    assert random_case(7) != random_case(8)


async def test_what_is_printed_is_a_case() -> None:
    case = random_case(11)
    names = {"case_of": case_of, "Ask": type(case.asks[0])}
    text = case.as_test()
    call = text[text.index("case_of(") : text.rindex("    )\n")]
    again = eval(call, names)
    assert isinstance(again, Case)
    assert again.rules_text == case.rules_text
    assert (again.declared, again.asks, again.labels) == (case.declared, case.asks, case.labels)


@pytest.mark.parametrize(
    ("place", "name", "fault"),
    [
        (LabelSchema, "to_names", lambda _schema: None),  # W1: retrieval knows no schema
        (checking, "depends_on_subject", lambda _policies: False),  # W4: one plan for all
        (label_classes, "_constants", lambda _expression: ()),  # classes too large
    ],
    ids=["schema", "subject", "classes"],
)
async def test_planted_faults_are_found_and_made_small(place: object, name: str, fault: Callable[..., object]) -> None:
    with patch.object(place, name, fault):
        found = None
        progress = Progress(0)
        while found is None and progress.policies < 40:
            found = await search(progress)
        assert found is not None
        small, said = await shrunk(found)
        assert (len(small.asks), len(small.labels)) <= (1, 2), "one label stands for another's class, at most"
        assert len(small.rules) <= 2
        assert len(small.as_test()) < 1_500
        assert said
    assert not await differences(small), "without the fault all agree"
