"""A message that is looked at piece by piece is held to the same rules as one that is looked at as a whole."""

from collections.abc import Callable, Iterator

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import document_pb2, filter_pb2, label_pb2, value_pb2
from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_chassis.rpc.piecewise_rules import PiecewiseRules, is_list_of_messages
from vecsec_chassis.rpc.request_rules import _field_violation, decode

LIMIT = 10_000_000
SERVICES = (
    "vecsec.gateway.v1.GatewayService",
    "vecsec.policy.v1.PolicyService",
    "vecsec.retrieval.v1.RetrievalService",
)
_RULES_OF_FIELDS, _RULES_OF_LISTS, _RULES_OF_ELEMENTS = 1159, 18, 4


def as_pieces(message: Message) -> list[FieldViolation]:
    for _, violations in PiecewiseRules().look_at(message):
        if violations:
            return [_field_violation(violation, path) for path, violation in violations]
    return []


def as_a_whole(message: Message) -> list[FieldViolation]:
    try:
        decode(type(message), message.SerializeToString(), max_bytes=LIMIT)
    except InvalidRequest as error:
        return list(error.violations)
    return []


def search() -> gateway_pb2.SearchDocumentsRequest:
    request = gateway_pb2.SearchDocumentsRequest(tenant_id="tenant_a", k=3)
    request.query.text = "hello"
    values = [value_pb2.Value(string_value=f"value {each}") for each in range(150)]
    for outer in range(8):
        inner = request.filter.any_of.filters.add().all_of.filters
        for _ in range(4):
            inner.add(**{"in": filter_pb2.MetadataFilter.In(key=f"kind{outer}", values=values)})
    return request


def batch() -> retrieval_service_pb2.ImportDocumentsRequest:
    return retrieval_service_pb2.ImportDocumentsRequest(
        documents=[
            document_pb2.DocumentInput(
                document_id=f"a{each}",
                text="text " * (2_000 if each == 7 else 20),
                sensitivity=1,
                topics=["finance"],
                metadata={"unit": value_pb2.Value(string_value="x")},
            )
            for each in range(100)
        ]
    )


def check() -> policy_service_pb2.CheckDocumentsRequest:
    label = label_pb2.Label(tenant_id="tenant_a", sensitivity=1, topics=["finance"])
    label.attributes["region"].string_list_value.values.extend(["x" * 60] * 4)
    return policy_service_pb2.CheckDocumentsRequest(tenant_id="tenant_a", action=1, labels=[label] * 200)


def nothing(_: Message) -> None:
    pass


def bad_key(request: gateway_pb2.SearchDocumentsRequest) -> None:
    getattr(request.filter.any_of.filters[5].all_of.filters[2], "in").key = "$or"


def no_kind(request: gateway_pb2.SearchDocumentsRequest) -> None:
    getattr(request.filter.any_of.filters[7].all_of.filters[3], "in").values[149].Clear()


def too_many(request: gateway_pb2.SearchDocumentsRequest) -> None:
    values = getattr(request.filter.any_of.filters[2].all_of.filters[0], "in").values
    values.extend([value_pb2.Value(string_value="x" * 40)] * 200)


def no_filters(request: gateway_pb2.SearchDocumentsRequest) -> None:
    request.filter.any_of.filters[3].all_of.ClearField("filters")


def bad_tenant(request: gateway_pb2.SearchDocumentsRequest) -> None:
    request.tenant_id = "Tenant"


def bad_topic(request: retrieval_service_pb2.ImportDocumentsRequest) -> None:
    request.documents[42].topics[0] = "Finance"


def bad_metadata_of_a_long_one(request: retrieval_service_pb2.ImportDocumentsRequest) -> None:
    request.documents[7].metadata["unit"].Clear()


def bad_label(request: policy_service_pb2.CheckDocumentsRequest) -> None:
    request.labels[199].attributes["Region"].string_value = "x"


@pytest.mark.parametrize(
    ("make", "damage"),
    [
        *((search, damage) for damage in (nothing, bad_key, no_kind, too_many, no_filters, bad_tenant)),
        *((batch, damage) for damage in (nothing, bad_topic, bad_metadata_of_a_long_one)),
        *((check, damage) for damage in (nothing, bad_label)),
    ],
)
def test_the_verdict_is_the_one_of_the_whole(make: Callable[[], Message], damage: Callable[[Message], None]) -> None:
    message = make()
    damage(message)
    found = as_a_whole(message)
    assert bool(found) == (damage is not nothing), "else this shows nothing"
    assert as_pieces(message) == found


def test_no_piece_is_large() -> None:
    sizes = [size for size, _ in PiecewiseRules().look_at(search())]
    assert len(sizes) > 30
    assert max(sizes) <= 4096


def test_elements_of_lists_have_no_rules_beside_those_of_their_message() -> None:
    """Such would stand with the list, and only the whole would be held to them."""
    seen = 0
    for descriptor in set(_requests()):
        for field in descriptor.fields:
            if is_list_of_messages(field):
                seen += 1
                rules = _inside(_RULES_OF_LISTS, _rules(field.GetOptions()))
                assert not _inside(_RULES_OF_ELEMENTS, rules), field.full_name
    assert seen >= 5


def _requests() -> Iterator[Descriptor]:
    """All messages that requests are made of."""
    for name in SERVICES:
        for method in descriptor_pool.Default().FindServiceByName(name).methods:
            yield from _inner(method.input_type, set())


def _inner(descriptor: Descriptor, seen: set[str]) -> Iterator[Descriptor]:
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        yield descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                yield from _inner(field.message_type, seen)


def _rules(options: Message) -> list[bytes]:
    return [each.data for each in UnknownFieldSet(options) if each.field_number == _RULES_OF_FIELDS]


def _inside(number: int, messages: list[bytes]) -> list[bytes]:
    return [
        each.data
        for message in messages
        for each in UnknownFieldSet(Empty.FromString(message))
        if each.field_number == number
    ]
