"""What filters mean, and what they may not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.plain_filters import FILTERS, METADATA, truth

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_retrieval.model.filters import (
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    Range,
    TextContains,
    looks_at_texts,
    predicate,
    refuse_oversized,
    refuse_unknown_keys,
)
from vecsec_retrieval.model.rows import Metadata, MetadataValue

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
    assert predicate(Equals("key", left))({"key": right}, str) is expected
    assert predicate(In("key", (left,)))({"key": right}, str) is expected


@given(VALUES)
def test_a_document_without_the_key_never_matches(value: MetadataValue) -> None:
    for condition in (Equals("key", value), In("key", (value,)), Range("key", at_least=-1e308)):
        assert not predicate(condition)({}, str)


def test_ranges_are_about_numbers_alone() -> None:
    holds = predicate(Range("key", at_least=0, less_than=2))
    assert [holds({"key": value}, str) for value in (0, 0.0, 1.9, 2, -1, True, "1")] == [
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
    assert predicate(either)({"a": 1}, str)
    assert predicate(either)({"b": 1, "c": 1}, str)
    assert not predicate(either)({"b": 1}, str)


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


def test_texts_are_compared_character_by_character() -> None:
    holds = predicate(TextContains("Straße"))
    assert holds({}, lambda: "An der Straße")
    assert not holds({}, lambda: "an der straße")
    assert not holds({}, lambda: "An der Strasse")
    assert predicate(Not(TextContains("a")))({}, lambda: "b")
    assert looks_at_texts(AllOf((Exists("key"), Not(TextContains("a")))))
    assert not looks_at_texts(AllOf((Exists("key"), Not(Equals("text", "a")))))


def test_a_text_is_not_read_where_metadata_decide() -> None:
    def never() -> str:
        raise AssertionError("the text was read")

    assert not predicate(AllOf((Equals("key", 1), TextContains("a"))))({"key": 2}, never)


def test_a_negation_says_nothing_of_documents_without_the_key() -> None:
    for condition in (Equals("key", 1), In("key", (1, 2)), Range("key", at_least=1)):
        for negations in range(1, 5):
            nested: MetadataFilter = condition
            for _ in range(negations):
                nested = Not(nested)
            assert not predicate(nested)({}, str)
            assert predicate(nested)({"key": "other"}, str) is (negations % 2 == 1)
    missing_too = AnyOf((Not(Equals("key", 1)), Not(Exists("key"))))
    assert [predicate(missing_too)(row, str) for row in ({}, {"key": 1}, {"key": 2})] == [True, False, True]


@given(FILTERS, METADATA, st.text(alphabet="ab", max_size=3))
def test_filters_mean_what_a_plain_evaluation_says(
    condition: MetadataFilter, metadata: dict[str, MetadataValue], text: str
) -> None:
    assert predicate(condition)(metadata, lambda: text) is (truth(condition, metadata, text) is True)


def test_negations_and_texts_have_limits_too() -> None:
    deep: MetadataFilter = Equals("key", 1)
    for _ in range(8):
        deep = Not(deep)
    with pytest.raises(InvalidRequest, match="more than 8 levels"):
        refuse_oversized(deep)
    refuse_oversized(AnyOf((TextContains("a"),) * 8))
    with pytest.raises(InvalidRequest, match="looks at texts more than 8 times"):
        refuse_oversized(AnyOf((TextContains("a"),) * 9))


def test_whether_an_unknown_key_exists_may_be_asked() -> None:
    refuse_unknown_keys(AllOf((Not(Exists("rare")), TextContains("a"))), {"known"})
    with pytest.raises(InvalidRequest) as refusal:
        refuse_unknown_keys(Not(AnyOf((Equals("known", 1), Equals("rare", 1)))), {"known"})
    assert [each.field for each in refusal.value.violations] == ["filter.not.filter.any_of.filters[1].equals.key"]


def test_a_negation_of_several_is_decided_by_what_is_known() -> None:
    """The examples of the contract."""

    def holds(condition: MetadataFilter, metadata: Metadata) -> bool:
        return predicate(condition)(metadata, str)

    not_both, neither = (Not(kind((Equals("a", 1), Equals("b", 2)))) for kind in (AllOf, AnyOf))
    assert holds(not_both, {"b": 3})
    assert not holds(not_both, {"b": 2})
    assert not holds(not_both, {})
    assert not holds(neither, {"b": 3})
    assert holds(neither, {"a": 2, "b": 3})
