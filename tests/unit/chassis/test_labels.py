"""Labels are equal only where rules cannot tell them apart, and attributes never pass for a label's own parts."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from vecsec.policy.v1 import policy_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import access_pb2, document_pb2, label_pb2, sensitivity_pb2, value_pb2
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.labels import OWN_PARTS, AttributeValue, Label, Sensitivity, rule_attributes
from vecsec_chassis.rpc.request_rules import decode
from vecsec_chassis.rpc.wire import label_bytes, label_from_bytes, label_from_proto, label_message, label_to_proto


def label(**attributes: AttributeValue) -> Label:
    return Label("tenant_a", Sensitivity.PUBLIC, frozenset({"rag"}), tuple(sorted(attributes.items())))


@pytest.mark.parametrize(("number", "boolean"), [(1, True), (0, False)])
def test_labels_that_rules_tell_apart_share_no_cache_entry(number: int, boolean: bool) -> None:
    assert label(hold=number) != label(hold=boolean)
    assert len({label(hold=number): 1, label(hold=boolean): 2}) == 2
    assert label(hold=number).key != label(hold=boolean).key


def test_equal_labels_share_one() -> None:
    first, second = label(hold=True, region="eu"), Label.from_json(label(hold=True, region="eu").to_json())
    assert first == second
    assert hash(first) == hash(second)
    assert label_from_proto(label_to_proto(first)) == first


def test_a_labels_message_is_made_once_and_shared_by_nobody() -> None:
    of = label(hold=True, owners=frozenset({"a", "b"}), year=7)
    assert label_bytes(of) is label_bytes(of)
    first, second = label_message(of), label_message(of)
    assert first == second == label_to_proto(of)
    first.tenant_id = "tenant_b"
    assert label_message(of) == second
    assert label_message(Label("", None, frozenset())) == label_pb2.Label()
    assert label_bytes(replace(of, tenant_id="tenant_b")) != label_bytes(of)


def test_labels_are_remembered_by_their_bytes_and_refusals_are_not() -> None:
    read = [label_from_bytes(label_to_proto(label(hold=value)).SerializeToString()) for value in (1, True, 1, True)]
    assert read == [label(hold=1), label(hold=True)] * 2
    assert read[0] is read[2]
    assert read[1] is read[3]
    refused = label_pb2.Label(attributes={"topics": value_pb2.Value(string_value="rag")}).SerializeToString()
    for field in ("labels[0]", "labels[1]"):
        with pytest.raises(InvalidRequest) as refusal:
            label_from_bytes(refused, field)
        assert [violation.field for violation in refusal.value.violations] == [f"{field}.attributes['topics']"]


@pytest.mark.parametrize(
    "text",
    [
        '{"sensitivity":true}',
        '{"sensitivity":1.0}',
        '{"topics":[1]}',
        '{"topics":"rag"}',
        '{"tenant_id":1}',
        '{"hold":1.5}',
        '{"hold":null}',
        '{"owner":{"__entity":{"type":"Caller","id":"x"}}}',
        '{"owner":[["x"]]}',
        "[]",
        "{",
    ],
)
def test_what_no_label_can_hold_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Label.from_json(text)


@pytest.mark.parametrize("name", sorted(OWN_PARTS))
def test_no_attribute_stands_in_for_a_part_of_the_label(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Label("", None, frozenset(), ((name, "tenant_a"),))
    message = label_pb2.Label(attributes={name: value_pb2.Value(string_value="tenant_a")})
    with pytest.raises(InvalidRequest) as refusal:
        label_from_proto(message)
    assert [violation.field for violation in refusal.value.violations] == [f"label.attributes['{name}']"]


def test_the_rules_see_all_names_of_a_whole_label() -> None:
    assert rule_attributes(label()).keys() == OWN_PARTS


@pytest.mark.parametrize("character", ["x", "\u20ac", "\U0001f512"])
def test_a_label_weighs_no_less_than_it_takes(character: str) -> None:
    members = frozenset(f"{number:02}{character * 62}" for number in range(16))
    topics = frozenset(f"{number:02}{character * 62}" for number in range(32))
    values: list[AttributeValue] = ["", 7, character * 256, members]
    for value in values:
        of = Label("t" * 63, Sensitivity.SECRET, topics, tuple((f"attribute_{number}", value) for number in range(16)))
        assert _memory_of(of) <= of.weight <= 8 * _memory_of(of)


def attribute_of(*members: str, text: str = "") -> value_pb2.Value:
    if members:
        return value_pb2.Value(string_list_value=value_pb2.StringList(values=members))
    return value_pb2.Value(string_value=text)


@pytest.mark.parametrize(
    ("attribute", "is_refused"),
    [
        (attribute_of(text="x" * 256), False),
        (attribute_of(text="x" * 257), True),
        (attribute_of(*["x" * 64] * 16), False),
        (attribute_of(*["x"] * 17), True),
        (attribute_of("x" * 65), True),
        (value_pb2.Value(integer_value=2**63 - 1), False),
        (value_pb2.Value(boolean_value=True), False),
    ],
)
def test_attributes_are_small(attribute: value_pb2.Value, is_refused: bool) -> None:
    check = policy_service_pb2.CheckDocumentsRequest(
        tenant_id="tenant_a", action=access_pb2.ACTION_READ, labels=[label_pb2.Label(attributes={"owner": attribute})]
    )
    document = document_pb2.DocumentInput(
        document_id="a",
        text="text",
        sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC,
        topics=["rag"],
        attributes={"owner": attribute},
        metadata={"note": attribute_of(text="x" * 4096)},
    )
    written = retrieval_service_pb2.ImportDocumentsRequest(grant="grant", documents=[document])
    assert _refused_fields(check) == (["labels[0].attributes['owner']"] if is_refused else [])
    assert _refused_fields(written) == (["documents[0].attributes['owner']"] if is_refused else [])


def _refused_fields(message: Message) -> list[str]:
    try:
        decode(type(message), message.SerializeToString(), max_bytes=100_000)
    except InvalidRequest as refusal:
        return [violation.field for violation in refusal.violations]
    return []


def _memory_of(of: Label) -> int:
    """What `sys.getsizeof` counts, with texts that are the same object counted as often as they occur."""
    parts: list[object] = [of, label_bytes(of), of.tenant_id, of.topics, *of.topics, of.attributes]
    for attribute in of.attributes:
        name, value = attribute
        parts += [attribute, name, value, *(value if isinstance(value, frozenset) else ())]
    return sum(map(sys.getsizeof, parts))


def test_a_label_hashes_by_its_content_also_after_a_journey_to_another_process() -> None:
    label = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"}), (("owner", "alice"),))
    same = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"}), (("owner", "alice"),))
    assert hash(label) == hash(same) == hash(pickle.loads(pickle.dumps(label)))
    program = (
        "import pickle, sys; label = pickle.loads(sys.stdin.buffer.read()); "
        "print(label in {label.from_json(label.to_json())})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(label),
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert answer.stdout.strip() == b"True"


@given(st.lists(st.sampled_from([1, True, 0, False, "1", "x"]), max_size=12))
def test_labels_are_equal_by_what_they_are_and_not_by_which_object(values: list[AttributeValue]) -> None:
    shared = {(type(value), value): label(hold=value) for value in values}
    rows = [shared[type(value), value] if number % 2 else label(hold=value) for number, value in enumerate(values)]
    places: dict[Label, int] = {}
    place_of_row = [places.setdefault(row, len(places)) for row in rows]
    distinct = list(places)
    assert [distinct[place] for place in place_of_row] == rows
    assert len(distinct) == len(set(rows)) == len(shared)
    assert distinct == list(dict.fromkeys(rows))
