"""Requests are held to the rules that stand in the contracts; errors name the field."""

import asyncio
from collections.abc import Awaitable

import pytest
from google.protobuf.message import Message

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import document_pb2, value_pb2
from vecsec_chassis import calls
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import InvalidRequest, TenantLimit
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.rpc import request_rules
from vecsec_chassis.rpc.grant_at_front import grant_at_front
from vecsec_chassis.rpc.request_rules import RequestReader, decode

LIMIT = 1_000_000


def search(**changes: object) -> gateway_service_pb2.SearchDocumentsRequest:
    request = gateway_service_pb2.SearchDocumentsRequest(tenant_id="tenant_a", k=3)
    request.query.text = "hello"
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def one_document(**changes: object) -> retrieval_service_pb2.ImportDocumentsRequest:
    fields: dict[str, object] = {"document_id": "a", "text": "text", "sensitivity": 1, "topics": ["finance"]}
    return retrieval_service_pb2.ImportDocumentsRequest(
        documents=[document_pb2.DocumentInput(**(fields | changes))]  # type: ignore[arg-type]
    )


def fields_of(message: object, *, data: bytes | None = None, limit: int = LIMIT) -> list[str]:
    with pytest.raises(InvalidRequest) as refusal:
        decode(type(message), data or message.SerializeToString(), max_bytes=limit)  # type: ignore[attr-defined, arg-type]
    return [violation.field for violation in refusal.value.violations]


def test_a_good_request_passes() -> None:
    request = search()
    assert decode(type(request), request.SerializeToString(), max_bytes=LIMIT) == request


@pytest.mark.parametrize(
    "tenant_id",
    ["", " ", "Tenant_a", "../a", "a/b", "a\0", "a.", "a ", "ａ", "tenant_a\n", "-a", "a" * 64, "tenant_a/../tenant_b"],
)
def test_malformed_tenants_are_refused(tenant_id: str) -> None:
    assert fields_of(search(tenant_id=tenant_id)) == ["tenant_id"]


@pytest.mark.parametrize("k", [0, -1, 1001, 2**31 - 1])
def test_k_has_bounds(k: int) -> None:
    assert fields_of(search(k=k)) == ["k"]


def test_a_query_is_needed_and_may_not_be_blank() -> None:
    request = search()
    request.query.text = " \t\n"
    assert fields_of(request) == ["query.text"]
    request.ClearField("query")
    assert fields_of(request) == ["query"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_vectors_hold_numbers(bad: float) -> None:
    request = search()
    request.query.vector.values.extend([0.5, bad])
    assert fields_of(request) == ["query.vector.values[1]"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sensitivity": 0}, "documents[0].sensitivity"),
        ({"sensitivity": 9}, "documents[0].sensitivity"),
        ({"topics": []}, "documents[0].topics"),
        ({"topics": ["Finance"]}, "documents[0].topics[0]"),
        ({"document_id": ""}, "documents[0].document_id"),
        ({"document_id": "mock-1"}, "documents[0].document_id"),
        ({"document_id": "a\0b"}, "documents[0].document_id"),
        ({"document_id": "a\x85b"}, "documents[0].document_id"),
        ({"document_id": "a\u202eb"}, "documents[0].document_id"),
        ({"document_id": "a\u2066b"}, "documents[0].document_id"),
        ({"document_id": "a\u2028b"}, "documents[0].document_id"),
        ({"document_id": "a "}, "documents[0].document_id"),
        ({"text": "  "}, "documents[0].text"),
        ({"embedding": [float("nan")]}, "documents[0].embedding[0]"),
        ({"metadata": {"$or": value_pb2.Value(string_value="x")}}, "documents[0].metadata['$or']"),
        ({"metadata": {"vs:label": value_pb2.Value(string_value="x")}}, "documents[0].metadata['vs:label']"),
        ({"metadata": {"key": value_pb2.Value()}}, "documents[0].metadata['key'].kind"),
    ],
)
def test_a_bad_document_is_named_with_its_field(changes: dict[str, object], field: str) -> None:
    assert field in fields_of(one_document(**changes))


@pytest.mark.parametrize("key", ["$or", "$and", "vs:tenant", "", "a b", "tenant\0", "{}"])
def test_filter_keys_cannot_be_operators(key: str) -> None:
    request = search()
    request.filter.equals.key = key
    request.filter.equals.value.string_value = "x"
    assert fields_of(request) == ["filter.equals.key"]


def test_invalid_utf8_is_named_by_its_field() -> None:
    request = search()
    assert fields_of(request, data=request.SerializeToString().replace(b"hello", b"h\xffllo")) == ["query.text"]
    documents = one_document(metadata={"unit": value_pb2.Value(string_value="hello")})
    damaged = documents.SerializeToString().replace(b"hello", b"h\xffllo")
    assert fields_of(documents, data=damaged) == ["documents[0].metadata[0].value.string_value"]


def test_garbage_and_oversized_requests_are_refused() -> None:
    assert fields_of(search(), data=b"\xff\xff\xff\xff") == ["request"]
    assert fields_of(search(), limit=5) == ["request"]


def test_of_a_large_request_only_the_first_bad_field_is_looked_for() -> None:
    """Twenty kilobytes of empty documents, which anybody may send, would take seconds to describe in full."""
    request = retrieval_service_pb2.ImportDocumentsRequest(documents=[document_pb2.DocumentInput()] * 10_000)
    assert len(fields_of(request)) == 1


def test_of_a_small_request_all_bad_fields_are_named() -> None:
    assert len(fields_of(search(tenant_id="Bad", k=0))) == 2


def test_a_huge_key_is_not_repeated_in_full() -> None:
    request = one_document(metadata={"$" * 100_000: value_pb2.Value(string_value="x")})
    assert len(fields_of(request)[0]) < 200


def large_filter() -> gateway_service_pb2.SearchDocumentsRequest:
    request = search()
    for part in range(64):
        condition = request.filter.any_of.filters.add()
        getattr(condition, "in").key = "kind"
        values = [value_pb2.Value(string_value=f"value {part} {each}") for each in range(150)]
        getattr(condition, "in").values.extend(values)
    return request


async def test_while_a_large_request_is_read_others_get_their_turn() -> None:
    request, reader = large_filter(), RequestReader()
    reading = asyncio.create_task(reader.read(type(request), request.SerializeToString(), max_bytes=LIMIT))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert reading.result() == request
    assert turns >= request.ByteSize() // (2 * request_rules._SLICE_BYTES)


async def test_who_is_in_the_way_of_nobody_meanwhile_keeps_no_place() -> None:
    told: list[str] = []

    class Place:
        async def receive(self, request: Awaitable[bytes]) -> bytes:
            return await request

        def step_aside(self) -> None:
            told.append("aside")

        def charge(self, seconds: float) -> None:
            told.append("charged")
            assert seconds > 0

        async def come_back(self, *, is_dear: bool) -> None:
            told.append(f"back, dear: {is_dear}")

    calls.enter(calls.Call("", "", None, place=Place()))
    reader, small, large = RequestReader(), search(), large_filter()
    await reader.read(type(small), small.SerializeToString(), max_bytes=LIMIT)
    assert not told
    await reader.read(type(large), large.SerializeToString(), max_bytes=LIMIT)
    assert told == ["aside", "back, dear: True"]
    told.clear()
    large.tenant_id = "Bad"
    with pytest.raises(InvalidRequest):
        await reader.read(type(large), large.SerializeToString(), max_bytes=LIMIT)
    assert told == ["aside", "charged"]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """What the reading of large requests waits for."""
    go, usual = asyncio.Event(), request_rules._read_in_slices

    async def held_up(kind: type[Message], data: bytes) -> Message:
        await go.wait()
        return await usual(kind, data)

    monkeypatch.setattr(request_rules, "_read_in_slices", held_up)
    return go


async def test_tenants_take_turns_in_having_large_requests_read(held: asyncio.Event) -> None:
    reader, ended = RequestReader(), []
    large = one_document(text="x" * 20_000)

    async def send(tenant_id: str) -> None:
        identity = Identity("somebody", tenant_id, "guest", Sensitivity.PUBLIC, "issuer", 0.0)
        calls.enter(calls.Call("", "", None, identity=identity))
        await reader.read(type(large), large.SerializeToString(), max_bytes=LIMIT)
        ended.append(tenant_id)

    loud = [asyncio.create_task(send("loud")) for _ in range(65)]
    await asyncio.sleep(0)
    with pytest.raises(TenantLimit, match="as many large requests waiting to be read as it may") as told:
        await asyncio.create_task(send("loud"))
    assert told.value.retry_after is not None
    quiet = asyncio.create_task(send("quiet"))
    await asyncio.sleep(0)
    loud[1].cancel()  # it waits
    await asyncio.wait(loud[1:2])
    assert not ended
    held.set()
    await quiet
    assert len(ended) <= 3, "one or two of the others', not sixty"
    await asyncio.gather(*loud, return_exceptions=True)
    assert ended.count("loud") == 64


async def test_between_services_the_tenant_of_the_grant_takes_the_turn(held: asyncio.Event) -> None:
    async def tenant_of(grant: str) -> str | None:
        return grant if grant in {"loud", "quiet"} else None

    reader, ended = RequestReader(tenant_of), []

    async def send(grant: str) -> None:
        calls.enter(calls.Call("", "", None))
        batch = one_document(text="x" * 20_000)
        part = batch.SerializeToString()
        batch.grant = grant
        await reader.read(type(batch), batch.SerializeToString(), max_bytes=LIMIT)
        await reader.read(type(batch), part, max_bytes=LIMIT)  # a part of a batch that brings no grant
        ended.append(grant)

    loud = [asyncio.create_task(send(grant)) for grant in ("loud", "made up") for _ in range(60)]
    quiet = asyncio.create_task(send("quiet"))
    await asyncio.sleep(0)
    held.set()
    await quiet
    assert ended.count("loud") + ended.count("made up") <= 4
    await asyncio.gather(*loud)


@pytest.mark.parametrize(
    "data", [b"", b"\x0a", b"\x0a\x05abc", b"\x12\x03abc", b"\x0a\xff\xff\xff\xff\xff\xff", b"\x0a\x00"]
)
def test_a_request_that_begins_otherwise_has_no_grant(data: bytes) -> None:
    assert not grant_at_front(data)


def test_the_grant_that_a_request_begins_with_is_found() -> None:
    request = one_document()
    request.grant = "g" * 300
    assert grant_at_front(request.SerializeToString()) == request.grant


async def test_between_services_a_call_knows_that_its_request_was_large() -> None:
    async def tenant_of(_grant: str) -> str | None:
        return None

    reader, small, large = RequestReader(tenant_of), one_document(), one_document(text="x" * 20_000)
    calls.enter(calls.Call("", "", None))
    await reader.read(type(small), small.SerializeToString(), max_bytes=LIMIT)
    assert not calls.current_call().has_large_request
    await reader.read(type(large), large.SerializeToString(), max_bytes=LIMIT)
    assert calls.current_call().has_large_request
