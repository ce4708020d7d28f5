"""What holds too much is refused before it is decoded, in the words in which the contract's rules would refuse it."""

from collections.abc import Callable, Iterator

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2, filter_pb2, value_pb2
from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_chassis.rpc.element_counts import FIELDS_A_TURN, NotAMessage, counted, most_elements
from vecsec_chassis.rpc.request_rules import decode

REQUESTS = (gateway_pb2, policy_pb2, retrieval_pb2)
EMPTY_DOCUMENT = b"\x1a\x00"


def refusal(kind: type[Message], data: bytes) -> list[FieldViolation]:
    with pytest.raises(InvalidRequest) as refused:
        list(counted(kind, data))
    return list(refused.value.violations)


def documents(number: int = 4) -> gateway_pb2.ImportDocumentsRequest:
    one = document_pb2.DocumentInput(document_id="a", text="text", sensitivity=1, topics=["finance"])
    return gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[one] * number)


def with_topics(number: int) -> Message:
    request = documents()
    request.documents[3].topics.extend(["x"] * (number - 1))
    return request


def with_metadata(number: int) -> Message:
    request = documents()
    for each in range(number):
        request.documents[2].metadata[f"key{each}"].string_value = "x"
    return request


def with_numbers(number: int) -> Message:
    request = gateway_pb2.SearchDocumentsRequest(tenant_id="tenant_a", k=1)
    request.query.vector.values.extend([0.5] * number)
    return request


def with_values(number: int) -> Message:
    request = gateway_pb2.SearchDocumentsRequest(tenant_id="tenant_a", k=1)
    request.query.text = "x"
    condition = getattr(request.filter.any_of.filters.add().all_of.filters.add(), "in")
    condition.key = "kind"
    condition.values.extend([value_pb2.Value(integer_value=1)] * number)
    return request


def with_types(number: int) -> Message:
    return gateway_pb2.CountViolationsRequest(tenant_id="tenant_a", violation_types=[1] * number)


@pytest.mark.parametrize(
    ("make", "most", "path"),
    [
        (documents, 1000, "documents"),
        (with_topics, 32, "documents[3].topics"),
        (with_metadata, 64, "documents[2].metadata"),
        (with_numbers, 8192, "query.vector.values"),
        (with_values, 256, "filter.any_of.filters[0].all_of.filters[0].in.values"),
        (with_types, 32, "violation_types"),
    ],
)
def test_as_much_as_the_contract_allows_and_no_more(make: Callable[[int], Message], most: int, path: str) -> None:
    list(counted(type(make(most)), make(most).SerializeToString()))
    too_much = make(most + 1)
    with pytest.raises(InvalidRequest) as by_the_rules:
        decode(type(too_much), too_much.SerializeToString(), max_bytes=10_000_000)
    found = refusal(type(too_much), too_much.SerializeToString())
    assert found[0].field == path
    assert found[0] in by_the_rules.value.violations


def test_of_a_list_that_is_too_long_no_more_is_looked_at() -> None:
    turns: list[None] = []
    with pytest.raises(InvalidRequest):
        turns.extend(counted(gateway_pb2.ImportDocumentsRequest, EMPTY_DOCUMENT * 4_000_000))
    assert len(turns) <= 1000 // FIELDS_A_TURN


def test_lists_of_a_message_that_is_sent_in_parts_count_together() -> None:
    half = gateway_pb2.SearchDocumentsRequest()
    for _ in range(40):
        half.filter.any_of.filters.add()
    list(counted(type(half), half.SerializeToString()))
    assert refusal(type(half), half.SerializeToString() * 2)[0].field == "filter.any_of.filters"


def test_numbers_that_are_not_packed_count_as_well() -> None:
    data = gateway_pb2.CountViolationsRequest(violation_types=[1]).SerializeToString()
    single = bytes([data[0] & ~7, 1])
    list(counted(gateway_pb2.CountViolationsRequest, single * 32))
    assert refusal(gateway_pb2.CountViolationsRequest, single * 33)[0].field == "violation_types"


@pytest.mark.parametrize("part", [b"\x0a\x00", b"\xba\x3e\x00"], ids=["known", "unknown"])
def test_nobody_sends_fields_without_end(part: bytes) -> None:
    assert refusal(gateway_pb2.ImportDocumentsRequest, part * 300_000)[0].field == "request"


def test_lists_in_one_another_are_no_way_around_it() -> None:
    condition = filter_pb2.MetadataFilter()
    for _ in range(3):
        condition = filter_pb2.MetadataFilter(any_of=filter_pb2.MetadataFilter.AnyOf(filters=[condition] * 64))
    request = gateway_pb2.SearchDocumentsRequest(filter=condition)
    assert refusal(type(request), request.SerializeToString())[0].field == "request"


@pytest.mark.parametrize(
    "data",
    [b"\x1a\x05ab", b"\x1a", b"\x1a\x80", b"\xff" * 20, b"\x0d\x00", b"\x09\x00", b"\x08", b"\x0b\x0c"],
    ids=["cut off", "no length", "half a length", "no tag", "fixed32", "fixed64", "varint", "group"],
)
def test_what_is_no_message_is_told_as_such(data: bytes) -> None:
    with pytest.raises(NotAMessage):
        list(counted(gateway_pb2.ImportDocumentsRequest, data))


def test_all_lists_of_requests_have_a_limit() -> None:
    """Else a guest could send as many elements as fit into a message."""
    seen: set[str] = set()
    lists = [each for contract in REQUESTS for each in _lists(contract.DESCRIPTOR.package, seen)]
    assert len(lists) > 30
    assert not [each.full_name for each in lists if most_elements(each) is None]


def _lists(package: str, seen: set[str]) -> Iterator[FieldDescriptor]:
    service = f"{package}.{package.split('.')[1].capitalize()}Service"
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        yield from _lists_of(method.input_type, seen)


def _lists_of(descriptor: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            if field.is_repeated:
                yield field
            if field.message_type is not None:
                yield from _lists_of(field.message_type, seen)
