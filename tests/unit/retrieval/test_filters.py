"""What filters mean, and what they may not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_retrieval.model.filters import (
    AllOf,
    AnyOf,
    Equals,
    In,
    MetadataFilter,
    Range,
    predicate,
    refuse_oversized,
    refuse_unknown_keys,
)
from vecsec_retrieval.model.rows import MetadataValue

VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)


@given(VALUES, VALUES)
def test_values_are_equal_only_within_their_kind(left: MetadataValue, right: MetadataValue) -> None:
    def kind(value: MetadataValue) -> str:
        return "number" if type(value) in {int, float} else type(value).__name__

    expected = kind(left) == kind(right) and left == right
    assert predicate(Equals("key", left))({"key": right}) is expected
    assert predicate(In("key", (left,)))({"key": right}) is expected


@given(VALUES)
def test_a_document_without_the_key_never_matches(value: MetadataValue) -> None:
    for condition in (Equals("key", value), In("key", (value,)), Range("key", at_least=-1e308)):
        assert not predicate(condition)({})


def test_ranges_are_about_numbers_alone() -> None:
    holds = predicate(Range("key", at_least=0, less_than=2))
    assert [holds({"key": value}) for value in (0, 0.0, 1.9, 2, -1, True, "1")] == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_combinations() -> None:
    either = AnyOf((Equals("a", 1), AllOf((Equals("b", 1), Equals("c", 1)))))
    assert predicate(either)({"a": 1})
    assert predicate(either)({"b": 1, "c": 1})
    assert not predicate(either)({"b": 1})


def nested(levels: int) -> MetadataFilter:
    condition: MetadataFilter = Equals("key", 1)
    for _ in range(levels - 1):
        condition = AllOf((condition,))
    return condition


def test_limits_are_named() -> None:
    refuse_oversized(nested(8))
    refuse_oversized(AnyOf((Equals("key", 1),) * 64))
    for condition, fields in [
        (nested(9), ["filter"]),
        (AnyOf((Equals("key", 1),) * 65), ["filter"]),
        (AllOf((Equals("key", 1), In("key", (1, "1")))), ["filter.all_of.filters[1].in.values"]),
    ]:
        with pytest.raises(InvalidRequest) as raised:
            refuse_oversized(condition)
        assert [violation.field for violation in raised.value.violations] == fields


def test_unknown_keys_are_named_by_their_place() -> None:
    condition = AnyOf((Equals("known", 1), AllOf((Range("unknown", at_least=1), In("other", (1,))))))
    refuse_unknown_keys(condition, {"known", "unknown", "other"})
    with pytest.raises(InvalidRequest) as raised:
        refuse_unknown_keys(condition, {"known"})
    assert [violation.field for violation in raised.value.violations] == [
        "filter.any_of.filters[1].all_of.filters[0].range.key",
        "filter.any_of.filters[1].all_of.filters[1].in.key",
    ]
