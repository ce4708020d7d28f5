"""LlamaIndex's filters become conditions that say the same, or are refused: none says more."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from llama_index.vector_stores.vecsec.filters import condition_of
from vecsec_client import all_of, any_of, at_least, equals, in_
from vecsec_client.frameworks.conditions import holds

LABEL_KEYS = {"sensitivity", "topics", "readers", "attributes"}

numbers = st.one_of(st.integers(-3, 3), st.sampled_from([-0.5, 0.0, 1.0, 2.5]))
texts = st.sampled_from(["", "a", "b"])
keys = st.sampled_from(["x", "y"])
leaves = st.one_of(
    st.builds(MetadataFilter, key=keys, operator=st.just(FilterOperator.EQ), value=st.one_of(numbers, texts)),
    st.builds(
        MetadataFilter,
        key=keys,
        operator=st.just(FilterOperator.IN),
        value=st.one_of(st.lists(texts, min_size=1, max_size=3), st.lists(st.integers(-3, 3), min_size=1, max_size=3)),
    ),
)
comparisons = st.builds(
    MetadataFilter,
    key=st.just("number"),
    operator=st.sampled_from([FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE]),
    value=numbers,
)
flat = st.builds(
    MetadataFilters,
    filters=st.lists(st.one_of(leaves, comparisons), min_size=1, max_size=4),
    condition=st.sampled_from([FilterCondition.AND, FilterCondition.OR]),
)
rows = st.fixed_dictionaries(
    {}, optional={"x": st.one_of(numbers, texts), "y": st.one_of(numbers, texts), "number": numbers}
)


@given(flat, st.lists(rows, max_size=5))
def test_a_condition_says_what_llama_indexs_own_store_says(
    filters: MetadataFilters, some: list[dict[str, Any]]
) -> None:
    translated = condition_of(filters, LABEL_KEYS)
    assert translated is not None
    meant = build_metadata_filter_fn(lambda at: some[int(at)], filters)
    assert [holds(translated, row, "") for row in some] == [meant(str(at)) for at in range(len(some))]


def single(operator: str, value: Any, key: str = "a") -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=FilterOperator(operator), value=value)])


def test_how_conditions_look() -> None:
    assert condition_of(None, LABEL_KEYS) is None
    assert condition_of(single("==", 1), LABEL_KEYS) == equals("a", 1)
    nested = MetadataFilters(
        filters=[single("in", ["x"]), MetadataFilter(key="b", operator=FilterOperator.GTE, value=2)],
        condition=FilterCondition.OR,
    )
    within = MetadataFilters(filters=[nested, single("==", "y", "c")])
    assert condition_of(within, LABEL_KEYS) == all_of(any_of(in_("a", ["x"]), at_least("b", 2.0)), equals("c", "y"))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (MetadataFilters(filters=[]), "an empty list says nothing; give None for no filters"),
        (MetadataFilters(filters=[single("==", 1), MetadataFilters(filters=[])]), "an empty list says nothing"),
        ({"a": 1}, "must be MetadataFilters, not dict"),
        (single("==", None), "the value of 'a' must be a text, a number or a boolean, not NoneType"),
        (single("==", ["x"]), "the value of 'a' is a list; for any of several values write the operator in"),
        (single("==", float("nan")), "which no row has"),
        (single("in", []), "in of 'a' takes a list of at least one value"),
        (single("in", "xy"), "in of 'a' takes a list of at least one value, not 'xy'"),
        (single(">", "x"), "> of 'a' takes a finite number, not 'x'"),
        (single("<", float("inf")), "takes a finite number"),
        (single(">=", 2**53 + 1), "bounds are 64-bit floats, and 9007199254740993 is none exactly"),
        (single("!=", 1), "!= of 'a' cannot be said: VecSec knows positive conditions only"),
        (single("nin", [1]), "nin of 'a' cannot be said: VecSec knows positive conditions only"),
        (single("is_empty", None), "is_empty of 'a' cannot be said: VecSec knows positive conditions only"),
        (single("any", ["x"]), "any of 'a' cannot be said: lists come back"),
        (single("all", ["x"]), "all of 'a' cannot be said: lists come back"),
        (single("contains", "x"), "contains of 'a' cannot be said: lists come back"),
        (single("text_match", "x"), "text_match of 'a' cannot be said: texts are compared whole"),
        (single("text_match_insensitive", "x"), "text_match_insensitive of 'a' cannot be said"),
        (
            MetadataFilters(filters=[single("==", 1)], condition=FilterCondition.NOT),
            "the condition not cannot be said",
        ),
        (single("==", "PUBLIC", "sensitivity"), "'sensitivity' is the row's label, which no filter asks for"),
    ],
)
def test_what_cannot_be_said_is_named(filters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        condition_of(filters, LABEL_KEYS)


def test_every_operator_is_said_or_refused_by_name() -> None:
    said = {"==", "in", ">", ">=", "<", "<="}
    for operator in FilterOperator:
        if operator.value not in said:
            with pytest.raises(ValueError, match=f"filter: {operator.value} of 'a' cannot be said"):
                condition_of(single(operator.value, "x"), LABEL_KEYS)
