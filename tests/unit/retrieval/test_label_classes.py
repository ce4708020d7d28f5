"""Classes of labels against Cedar itself: a class is decided as each of its labels would be, by any residual."""

from collections import defaultdict
from dataclasses import replace

import cedarpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.retrieval.worlds import eyes, grant

from vecsec_chassis.domain.label_schema import AttributeType, LabelSchema
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes, rule_attributes
from vecsec_retrieval.visibility.label_classes import LabelClasses, is_readable
from vecsec_retrieval.visibility.label_table import LabelTable
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

TEXTS = ["a", "b", "c", "d"]
NUMBERS = [-1, 0, 1, 2, 3, 2**63 - 1]
ATTRIBUTES = ["owner", "level", "until", "readers", "open"]

values: st.SearchStrategy[AttributeValue] = st.one_of(
    st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.booleans(), st.frozensets(st.sampled_from(TEXTS), max_size=3)
)


def mostly(usual: st.SearchStrategy[AttributeValue]) -> st.SearchStrategy[AttributeValue | None]:
    """An attribute that has its usual type three times in five, is missing or of any type otherwise."""
    return st.one_of(usual, usual, usual, values, st.none())


text_sets = st.frozensets(st.sampled_from(TEXTS), max_size=3)
labels = st.builds(
    lambda sensitivity, topics, **attributes: Label(
        "tenant_a",
        sensitivity,
        topics,
        canonical_attributes({name: value for name, value in attributes.items() if value is not None}),
    ),
    st.one_of(st.none(), st.sampled_from(Sensitivity)),
    text_sets,
    owner=mostly(st.sampled_from(TEXTS)),
    level=mostly(st.sampled_from(NUMBERS)),
    until=mostly(st.sampled_from(NUMBERS)),
    readers=mostly(text_sets),
    open=mostly(st.booleans()),
)

quoted = st.sampled_from(TEXTS).map('"{}"'.format)
numbers = st.sampled_from(["-1", "0", "1", "2", "3"])
sets = st.lists(st.one_of(quoted, quoted, numbers), max_size=3).map(lambda members: f"[{', '.join(members)}]")
attributes = st.sampled_from(["sensitivity", "topics", *ATTRIBUTES]).map("resource.{}".format)
constants = st.one_of(quoted, numbers, sets, st.sampled_from(["true", "false", 'Caller::"x"', "[]"]))
operands = st.one_of(attributes, attributes, constants, st.builds("({} + 1)".format, attributes))
set_attributes = st.sampled_from(["resource.topics", "resource.readers"])
set_questions = st.one_of(
    st.builds("{}.{}({})".format, sets, st.sampled_from(["containsAll", "containsAny"]), set_attributes),
    st.builds("{}.{}({})".format, set_attributes, st.sampled_from(["containsAll", "containsAny"]), sets),
    st.builds("{} == {}".format, set_attributes, sets),
    st.builds("{}.contains({})".format, set_attributes, quoted),
)
atoms = st.one_of(
    set_questions,
    st.builds("{} {} {}".format, operands, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), operands),
    st.builds("{}.{}({})".format, operands, st.sampled_from(["contains", "containsAll", "containsAny"]), operands),
    st.builds("{}.isEmpty()".format, st.one_of(attributes, sets)),
    st.builds('{} like "{}*"'.format, attributes, st.sampled_from(TEXTS)),
    st.builds("resource has {}".format, st.sampled_from(["sensitivity", "topics", *ATTRIBUTES])),
    attributes,
    st.sampled_from(["true", 'resource == Document::"3"', "resource is Document", "resource in resource"]),
    st.builds("{{x: {}}}.x == {}".format, attributes, operands),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, st.one_of(inner, attributes)),
    ),
    max_leaves=5,
)
rules = st.builds(
    "{}(principal, action, resource) {} {{ {} }};".format,
    st.sampled_from(["permit", "permit", "forbid"]),
    st.sampled_from(["when", "unless"]),
    conditions,
)


def residual_of(*texts: str) -> str:
    return cedarpy.policies_to_json_str("\n".join(texts))


def decided_alone(policies: cedarpy.PolicySet, number: int, label: Label) -> bool:
    """Cedar's word on this very label."""
    row = {"type": "Document", "id": str(number)}
    request = {"principal": 'Caller::"caller"', "action": 'Action::"read"', "resource": row, "context": {}}
    entity = {"uid": row, "attrs": rule_attributes(label), "parents": []}
    result = cedarpy.is_authorized(request, policies, [entity])
    return result.allowed and not result.diagnostics.errors


@settings(max_examples=400)
@given(st.lists(rules, min_size=1, max_size=3), st.lists(labels, min_size=1, max_size=40, unique=True))
async def test_a_class_is_decided_as_each_of_its_labels(texts: list[str], rows: list[Label]) -> None:
    residual = residual_of("permit(principal, action, resource);", *texts)
    policies = cedarpy.PolicySet.from_json_str(residual)
    classes = LabelClasses.of_residual(residual)
    if classes.are_single:
        return  # then nothing is concluded from one label for another
    expected = [decided_alone(policies, number, label) for number, label in enumerate(rows)]
    verdicts = defaultdict(set)
    for label, verdict in zip(rows, expected, strict=True):
        verdicts[classes.signature(label)].add(verdict)
    assert all(len(of_class) == 1 for of_class in verdicts.values()), (texts, rows)
    decisions = ResidualDecisions()
    assert (await Visibility(decisions, grant(residual)).in_table(LabelTable(rows))).tolist() == expected
    visible = await eyes(residual).of(rows)
    assert [label in visible for label in rows] == expected


@settings(max_examples=300)
@given(st.lists(rules, min_size=1, max_size=3), st.lists(labels, max_size=25))
def test_a_table_finds_the_classes_that_each_label_says_it_is_of(texts: list[str], rows: list[Label]) -> None:
    classes = LabelClasses.of_residual(residual_of(*texts))
    table = LabelTable(rows)
    class_of_label, representatives = table.classify(classes)
    signatures = [classes.signature(label) for label in table.labels]
    of_numbers = dict(zip(class_of_label.tolist(), signatures, strict=True))
    assert [of_numbers[number] for number in class_of_label.tolist()] == signatures
    assert len(of_numbers) == len(set(signatures))
    for number, code in enumerate(representatives.tolist()):
        assert (code == -1) == (number not in of_numbers)
        assert code == -1 or class_of_label[code] == number


async def test_a_hundred_thousand_owners_are_two_classes_to_whoever_owns_rows() -> None:
    residual = residual_of('permit(principal, action, resource) when { resource has owner && resource.owner == "u7" };')
    rows = [Label("tenant_a", Sensitivity.PUBLIC, frozenset("a"), (("owner", f"u{number}"),)) for number in range(1000)]
    classes = LabelClasses.of_residual(residual)
    assert len({classes.signature(label) for label in rows}) == 2
    assert np.flatnonzero(await eyes(residual).in_table(LabelTable(rows))).tolist() == [7]


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("resource.until <= 5", 3),  # below, on it, above
        ("resource.until < 5 || resource.until == 8", 5),
        ('["u1", "u2"].contains(resource.owner)', 3),
        ('resource.owner like "u*"', 10),
        ("resource.owner == resource.region", 10),
        ("resource has owner", 1),
    ],
)
def test_what_makes_classes(condition: str, count: int) -> None:
    classes = LabelClasses.of_residual(residual_of(f"permit(principal, action, resource) when {{ {condition} }};"))
    rows = [
        Label("tenant_a", None, frozenset(), (("owner", f"u{number}"), ("region", "eu"), ("until", number)))
        for number in range(10)
    ]
    assert len({classes.signature(label) for label in rows}) == count


async def test_a_residual_that_speaks_of_the_row_itself_concludes_nothing_from_other_labels() -> None:
    residual = residual_of('permit(principal, action, resource) when { resource == Document::"0" };')
    assert LabelClasses.of_residual(residual).are_single


def test_what_cedar_has_no_type_for_is_not_readable() -> None:
    assert is_readable(Label("t", None, frozenset(), (("a", -(2**63)), ("b", True), ("c", frozenset()))))
    assert not is_readable(Label("t", None, frozenset(), (("a", 2**63),)))


async def test_labels_that_cedar_cannot_read_neither_decide_for_others_nor_are_seen() -> None:
    residual = residual_of("permit(principal, action, resource);")
    huge = Label("tenant_a", None, frozenset(), (("level", 2**63),))
    plain = Label("tenant_a", None, frozenset(), (("level", 1),))
    table = LabelTable([huge, plain])
    decisions = ResidualDecisions()
    assert (await Visibility(decisions, grant(residual)).in_table(table)).tolist() == [False, True]
    assert await Visibility(decisions, grant(residual)).of([huge, plain]) == {plain}


@settings(max_examples=150)
@given(
    st.dictionaries(st.sampled_from(ATTRIBUTES), st.sampled_from(AttributeType)).map(LabelSchema.of),
    rules,
    st.lists(labels, min_size=1, max_size=25, unique=True),
)
async def test_what_does_not_fit_the_schema_is_seen_neither_in_a_table_nor_alone(
    schema: LabelSchema, rule: str, rows: list[Label]
) -> None:
    residual = residual_of("permit(principal, action, resource);", rule)
    bare, told = grant(residual), replace(grant(residual), label_schema=schema)
    decisions = ResidualDecisions()
    table = LabelTable(rows)
    by_rules = await Visibility(decisions, bare).in_table(table)
    expected = [bool(seen) and schema.fits(label) for seen, label in zip(by_rules, rows, strict=True)]
    assert (await Visibility(decisions, told).in_table(table)).tolist() == expected
    visible = await Visibility(decisions, told).of(rows)
    assert [label in visible for label in rows] == expected


async def test_what_is_remembered_of_a_table_ends_when_it_grows() -> None:
    residual = residual_of("permit(principal, action, resource) when { resource has owner };")
    table, decisions = LabelTable([Label("tenant_a", None, frozenset())]), ResidualDecisions()
    assert (await Visibility(decisions, grant(residual)).in_table(table)).tolist() == [False]
    before = table.approximate_bytes
    table.add(Label("tenant_a", None, frozenset(), (("owner", "u"),)))
    assert table.approximate_bytes > before
    assert (await Visibility(decisions, grant(residual)).in_table(table)).tolist() == [False, True]
