"""Residual policies: what they make visible, and that whatever goes wrong makes nothing visible."""

import pytest
from unit.retrieval.worlds import attribute, eyes, grant, label, permit, up_to

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidGrant
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.visibility import permissions
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

PUBLIC, SECRET = label(Sensitivity.PUBLIC), label(Sensitivity.SECRET)


async def test_labels_that_the_residual_permits_are_visible() -> None:
    decisions = ResidualDecisions()
    assert await Visibility(decisions, grant(up_to(Sensitivity.INTERNAL))).of([PUBLIC, SECRET]) == {PUBLIC}
    assert await Visibility(decisions, grant(up_to(Sensitivity.SECRET))).of([PUBLIC, SECRET]) == {PUBLIC, SECRET}
    assert await Visibility(decisions, grant(up_to(Sensitivity.SECRET))).of([]) == frozenset()


async def test_sets_and_further_attributes_are_what_rules_expect() -> None:
    contains = permit(
        {"containsAll": {"left": {"Set": [{"Value": "a"}, {"Value": "b"}]}, "right": attribute("topics")}}
    )
    inside, outside = label(topics={"a", "b"}), label(topics={"a", "c"})
    decisions = ResidualDecisions()
    assert await Visibility(decisions, grant(contains)).of([inside, outside]) == {inside}
    owned = permit({"==": {"left": attribute("owner"), "right": {"Value": "alice"}}})
    mine, theirs = label(owner="alice"), label(owner="bob")
    assert await Visibility(decisions, grant(owned)).of([mine, theirs, PUBLIC]) == {mine}


async def test_a_rule_that_fails_makes_the_label_invisible_even_if_it_forbids() -> None:
    forbid_failing = permit().replace(
        '"staticPolicies": {',
        '"staticPolicies": {"failing": {"effect": "forbid", "principal": {"op": "All"}, "action": {"op": "All"}, '
        '"resource": {"op": "All"}, "conditions": [{"kind": "when", "body": {"==": {"left": {".": {"left": '
        '{"Var": "resource"}, "attr": "owner"}}, "right": {"Value": "x"}}}}]}, ',
    )
    owned = label(owner="y")
    assert await eyes(forbid_failing).of([owned, PUBLIC]) == {owned}


async def test_a_label_that_cedar_cannot_read_is_invisible() -> None:
    odd = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"}), (("weight", 1.5),))  # type: ignore[arg-type]
    assert await eyes(permit()).of([odd]) == frozenset()


@pytest.mark.parametrize(
    "residual", ["", "{", "[]", "{}", '{"staticPolicies": 1}', "permit(principal,action,resource);"]
)
async def test_a_residual_that_is_no_policy_set_is_no_grant(residual: str) -> None:
    with pytest.raises(InvalidGrant):
        await eyes(residual).of([PUBLIC])


async def test_an_empty_policy_set_shows_nothing() -> None:
    empty = '{"templates": {}, "templateLinks": [], "staticPolicies": {}}'
    assert await eyes(empty).of([PUBLIC]) == frozenset()


async def test_verdicts_are_remembered_by_action_and_residual() -> None:
    reads = permit(
        {"==": {"left": {"Var": "action"}, "right": {"Value": {"__entity": {"type": "Action", "id": "read"}}}}}
    )
    decisions = ResidualDecisions()
    for _ in range(2):
        assert await Visibility(decisions, grant(reads)).of([PUBLIC]) == {PUBLIC}
        assert await Visibility(decisions, grant(reads, Action.WRITE)).of([PUBLIC]) == frozenset()
        assert await Visibility(decisions, grant(up_to(Sensitivity.PUBLIC))).of([SECRET]) == frozenset()


async def test_many_labels_are_decided_in_batches() -> None:
    labels = [label(Sensitivity(1 + number % 4), {f"t{number}"}) for number in range(300)]
    visible = await eyes(up_to(Sensitivity.INTERNAL)).of(labels)
    assert len(visible) == 150


async def test_one_residual_leaves_room_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "_REMEMBERED_VERDICTS", 400)
    monkeypatch.setattr(permissions, "_MOST_OF_ONE", 200)
    decisions = ResidualDecisions()
    decides_each_owner = permit({"like": {"left": attribute("owner"), "pattern": ["Wildcard", {"Literal": "7"}]}})
    assert await Visibility(decisions, grant(up_to(Sensitivity.INTERNAL))).of([PUBLIC]) == {PUBLIC}
    labels = [label(owner=f"owner-{number}") for number in range(500)]
    for _ in range(2):
        visible = await Visibility(decisions, grant(decides_each_owner)).of(labels)
        assert visible == {each for each in labels if dict(each.attributes)["owner"].endswith("7")}  # type: ignore[union-attr]
    before = decisions.residual_lookups.hits
    await Visibility(decisions, grant(up_to(Sensitivity.INTERNAL))).of([PUBLIC])
    assert decisions.residual_lookups.hits == before + 1, "what others had is still remembered"
    assert decisions._residuals.currsize <= 400
