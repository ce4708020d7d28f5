"""LangChain's filters become conditions that say the same, or are refused: none says more."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_vecsec.filters import condition_of
from vecsec_client import (
    AllOf,
    AnyOf,
    Equals,
    In,
    MetadataFilter,
    Range,
    all_of,
    any_of,
    at_least,
    equals,
    in_,
    less_than,
)

LABEL_KEYS = frozenset({"sensitivity", "topics"})

scalars = st.one_of(st.integers(-3, 3), st.sampled_from(["a", "b", ""]), st.booleans(), st.sampled_from([0.5, 1.0]))
numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 1.0]))
keys = st.sampled_from(["x", "y", "z"])
operators = st.one_of(
    st.fixed_dictionaries({"$eq": scalars}),
    st.fixed_dictionaries({"$in": st.lists(scalars, min_size=1, max_size=3)}),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers, min_size=1),
)
leaves = st.dictionaries(keys, st.one_of(scalars, operators), min_size=1, max_size=2)
filters = st.recursive(
    leaves,
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
    ),
    max_leaves=6,
)
rows = st.dictionaries(keys, scalars)


def alike(one: object, other: object) -> bool:
    """Equal, and of the same type, as the services compare."""
    return type(one) is type(other) and one == other


def meant(condition: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """What the dictionary means, by the documentation of LangChain's stores."""

    def holds(key: str, operator: str, operand: Any) -> bool:
        if key not in row:
            return False
        value = row[key]
        if operator == "$eq":
            return alike(value, operand)
        if operator == "$in":
            return any(alike(value, each) for each in operand)
        if isinstance(value, bool | str):
            return False
        compared = {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}
        return compared[operator]

    def entry(key: str, value: Any) -> bool:
        if key == "$and":
            return all(meant(each, row) for each in value)
        if key == "$or":
            return any(meant(each, row) for each in value)
        operands = value if isinstance(value, dict) else {"$eq": value}
        return all(holds(key, operator, operand) for operator, operand in operands.items())

    return all(entry(key, value) for key, value in condition.items())


def holds(condition: MetadataFilter, row: Mapping[str, Any]) -> bool:
    """What the condition means, by the contract."""
    match condition:
        case AllOf(parts):
            return all(holds(part, row) for part in parts)
        case AnyOf(parts):
            return any(holds(part, row) for part in parts)
        case Equals(key, value):
            return key in row and alike(row[key], value)
        case In(key, values):
            return key in row and any(alike(row[key], value) for value in values)
        case Range(key, low, above, high, below):
            value = row.get(key)
            if value is None or isinstance(value, bool | str):
                return False
            return (
                (low is None or value >= low)
                and (above is None or value > above)
                and (high is None or value <= high)
                and (below is None or value < below)
            )


@given(filters, st.lists(rows, max_size=5))
def test_a_condition_says_what_the_dictionary_says(condition: dict[str, Any], some: list[dict[str, Any]]) -> None:
    translated = condition_of(condition, LABEL_KEYS)
    assert translated is not None
    assert [holds(translated, row) for row in some] == [meant(condition, row) for row in some]


def test_how_conditions_look() -> None:
    assert condition_of(None, LABEL_KEYS) is None
    assert condition_of(equals("a", 1), LABEL_KEYS) == equals("a", 1)
    assert condition_of({"a": 1}, LABEL_KEYS) == equals("a", 1)
    assert condition_of({"a": {"$gte": 1, "$lt": 5}, "b": {"$in": ["x"]}}, LABEL_KEYS) == all_of(
        at_least("a", 1.0), less_than("a", 5.0), in_("b", ["x"])
    )
    assert condition_of({"$or": [{"a": 1}, equals("b", 2)]}, LABEL_KEYS) == any_of(equals("a", 1), equals("b", 2))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({}, "an empty dictionary says nothing; give None for no filter"),
        ([], "must be a dictionary"),
        (lambda document: True, "must be a dictionary"),
        ("kind = 'memo'", "must be a dictionary"),
        ({1: 2}, "keys are texts, not int"),
        ({"a": {}}, "'a' has no condition"),
        ({"a": None}, "the value of 'a' must be a text, a number or a boolean, not NoneType"),
        ({"a": {"$eq": None}}, "not NoneType"),
        ({"a": [1, 2]}, r"for any of several values write \{'\$in'"),
        ({"a": float("nan")}, "which no row has"),
        ({"a": {"$in": []}}, r"\$in of 'a' takes a list of at least one value"),
        ({"a": {"$in": "xy"}}, r"\$in of 'a' takes a list"),
        ({"a": {"$in": [[1]]}}, "is a list"),
        ({"a": {"$gt": "x"}}, r"\$gt of 'a' takes a finite number, not 'x'"),
        ({"a": {"$gt": True}}, "takes a finite number"),
        ({"a": {"$lt": float("inf")}}, "takes a finite number"),
        ({"a": {"$lt": 10**400}}, "takes a finite number"),
        ({"a": {"$gte": 2**53 + 1}}, "bounds are 64-bit floats, and 9007199254740993 is none exactly"),
        ({"a": {"$ne": 1}}, r"\$ne of 'a' cannot be said: VecSec knows positive conditions only"),
        ({"a": {"$nin": [1]}}, r"\$nin of 'a' cannot be said"),
        ({"a": {"$exists": False}}, r"\$exists of 'a' cannot be said"),
        ({"$not": {"a": 1}}, r"\$not cannot be said"),
        ({"a": {"$like": "x%"}}, r"'\$like' of 'a' is no operator; use one of \$eq"),
        ({"a": {"b": 1}}, "'b' of 'a' is no operator"),
        ({"$where": "1"}, r"'\$where' is no operator"),
        ({"$and": []}, r"\$and takes a list of at least one filter"),
        ({"$or": {"a": 1}}, r"\$or takes a list"),
        ({"$or": [{"a": 1}, {}]}, "an empty dictionary"),
        ({"$or": [{"a": 1}, None]}, "must be a dictionary"),
        ({"a": 1, "b": {"$ne": 2}}, r"\$ne of 'b'"),
        ({"sensitivity": "PUBLIC"}, "'sensitivity' is the row's label, which no filter asks for"),
        ({"$and": [{"topics": {"$in": ["rag"]}}]}, "'topics' is the row's label"),
    ],
)
def test_what_cannot_be_said_is_named(condition: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        condition_of(condition, LABEL_KEYS)
