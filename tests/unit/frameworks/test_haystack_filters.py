"""Haystack's filters become conditions that say the same, or are refused: none says more."""

from typing import Any

import pytest
from haystack.dataclasses import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter
from hypothesis import given
from hypothesis import strategies as st

from haystack_integrations.document_stores.vecsec.filters import UnsaidFilterError, condition_of
from vecsec_client import all_of, any_of, at_least, equals, in_
from vecsec_client.frameworks.conditions import holds

LABEL_KEYS = {"sensitivity", "topics", "readers", "attributes"}

numbers = st.one_of(st.integers(-3, 3), st.sampled_from([-0.5, 0.0, 1.0, 2.5]))
scalars = st.one_of(numbers, st.sampled_from(["", "a", "b"]))
fields = st.sampled_from(["meta.x", "meta.y", "x"])


def comparing(field: Any, operator: Any, value: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"field": field, "operator": operator, "value": value})


leaves = st.one_of(
    comparing(fields, st.just("=="), scalars),
    comparing(fields, st.just("in"), st.lists(scalars, min_size=1, max_size=3)),
    comparing(st.just("meta.number"), st.sampled_from([">", ">=", "<", "<="]), numbers),
)
filters = st.recursive(
    leaves,
    lambda inner: st.fixed_dictionaries(
        {"operator": st.sampled_from(["AND", "OR"]), "conditions": st.lists(inner, min_size=1, max_size=3)}
    ),
    max_leaves=6,
)
rows = st.fixed_dictionaries({}, optional={"x": scalars, "y": scalars, "number": numbers})


@given(filters, st.lists(rows, max_size=5))
def test_a_condition_says_what_haystacks_own_store_says(asked: dict[str, Any], some: list[dict[str, Any]]) -> None:
    translated = condition_of(asked, LABEL_KEYS)
    assert translated is not None
    meant = [document_matches_filter(asked, Document(content="x", meta=row)) for row in some]
    assert [holds(translated, row, "") for row in some] == meant


def single(operator: Any, value: Any, field: Any = "meta.a") -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def test_how_conditions_look() -> None:
    assert condition_of(None, LABEL_KEYS) is None
    assert condition_of({}, LABEL_KEYS) is None
    either = {"operator": "OR", "conditions": [single("==", 1), single(">=", 2, "meta.b")]}
    both = {"operator": "AND", "conditions": [either, single("in", [1, "x", 2.5], "c")]}
    assert condition_of(both, LABEL_KEYS) == all_of(
        any_of(equals("a", 1), at_least("b", 2.0)), any_of(in_("c", [1, 2.5]), in_("c", ["x"]))
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (single("!=", 1), "!= cannot be said: VecSec knows positive conditions only"),
        (single("not in", [1]), "not in cannot be said"),
        ({"operator": "NOT", "conditions": [single("==", 1)]}, "NOT cannot be said"),
        (single("==", None), "the value of 'a' must be a text, a number or a boolean, not NoneType"),
        (single("==", [1]), "is a list; for any of several values write the operator in"),
        (single(">", None), "> of 'a' takes a finite number, not 'None'"),
        (single(">", "2020-01-01"), "> of 'a' takes a finite number, not '2020-01-01'"),
        (single("in", []), "in of 'a' takes a list of at least one value"),
        (single("in", [None]), "must be a text, a number or a boolean"),
        (single("==", 1, "meta.a.b"), "'meta.a.b' cannot be asked for: it lies within another value"),
        (single("==", "x", "content"), "'content' cannot be asked for, only metadata"),
        (single("==", "x", "id"), "'id' cannot be asked for"),
    ],
)
def test_what_cannot_be_said_is_named(asked: Any, message: str) -> None:
    with pytest.raises(UnsaidFilterError, match=message):
        condition_of({"operator": "AND", "conditions": [single("==", 1, "meta.b"), asked]}, LABEL_KEYS)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([single("==", 1)], "must be a dictionary, not list"),
        ({"operator": "AND"}, "'conditions' is missing"),
        ({"conditions": []}, "'operator' is missing"),
        ({"field": "meta.a", "operator": "=="}, "'value' is missing"),
        ({"operator": "AND", "conditions": []}, "AND takes a list of at least one filter"),
        ({"operator": "XOR", "conditions": [single("==", 1)]}, "'XOR' joins no conditions; use AND or OR"),
        ({"operator": "OR", "conditions": [single("==", 1), {}]}, "'operator' is missing"),
        (single("like", "x"), "'like' of 'a' is no operator; use one of =="),
        (single("==", 1, 7), "a field is a text, not int"),
        (single("in", (1, 2)), "in of 'a' takes a list"),
    ],
)
def test_what_is_no_filter_is_named(asked: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        condition_of(asked, LABEL_KEYS)


def test_nobody_asks_for_labels() -> None:
    with pytest.raises(ValueError, match="'sensitivity' is the row's label, which no filter asks for"):
        condition_of(single("==", "PUBLIC", "meta.sensitivity"), LABEL_KEYS)
