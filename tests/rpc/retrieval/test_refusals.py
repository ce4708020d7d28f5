"""Bad requests and bad grants: each is refused, named where the caller can mend it, and changes nothing."""

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path

import grpc
import jwt
import pytest
from support.refusals import refusal
from support.retrieval_alone import (
    SECONDS,
    SECRET,
    Service,
    Signer,
    document,
    running,
    text_value,
    vector_query,
    whole,
)
from unit.retrieval.worlds import up_to

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import document_pb2, filter_pb2, query_pb2, value_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.handlers import SERVICE_NAME


def an_equals(key: str, value: value_pb2.Value) -> filter_pb2.MetadataFilter:
    return filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key=key, value=value))


def deep_filter(levels: int) -> filter_pb2.MetadataFilter:
    condition = an_equals("x", whole(1))
    for _ in range(levels - 1):
        condition = filter_pb2.MetadataFilter(all_of=filter_pb2.MetadataFilter.AllOf(filters=[condition]))
    return condition


BAD_SEARCHES: list[tuple[dict[str, object], str]] = [
    ({"query": query_pb2.Query()}, "query.kind"),
    ({"query": query_pb2.Query(text="")}, "query.text"),
    ({"query": query_pb2.Query(text=" \n")}, "query.text"),
    ({"query": vector_query()}, "query.vector.values"),
    ({"query": vector_query(float("nan"))}, "query.vector.values[0]"),
    ({"query": vector_query(1.0, float("inf"))}, "query.vector.values[1]"),
    ({"query": vector_query(1.0, 2.0)}, "query.vector.values"),
    ({"query": vector_query(*[0.0] * 256)}, "query.vector.values"),
    ({"k": 0}, "k"),
    ({"k": -1}, "k"),
    ({"k": 1001}, "k"),
    ({"collection_id": "../x"}, "collection_id"),
    ({"collection_id": "documents.labels"}, "collection_id"),
    ({"filter": filter_pb2.MetadataFilter()}, "filter.condition"),
    ({"filter": an_equals("$or", whole(1))}, "filter.equals.key"),
    ({"filter": an_equals("y", whole(1))}, "filter.equals.key"),
    (
        {"filter": an_equals("x", value_pb2.Value(string_list_value=value_pb2.StringList(values=["a"])))},
        "filter.equals.value",
    ),
    ({"filter": deep_filter(9)}, "filter"),
]


@pytest.mark.parametrize(("fields", "field_name"), BAD_SEARCHES)
async def test_bad_searches_name_their_field(service: Service, fields: dict[str, object], field_name: str) -> None:
    await service.load(document("one", metadata={"x": whole(1)}))
    refused = await refusal(service.search(**fields))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.reason == "INVALID_FIELD"
    assert refused.fields == (field_name,)


BAD_DOCUMENTS: list[tuple[list[document_pb2.DocumentInput], str]] = [
    ([document("")], "documents[0].document_id"),
    ([document("mock-1")], "documents[0].document_id"),
    ([document("a\x00b")], "documents[0].document_id"),
    ([document("good"), document("other"), document("good")], "documents[2].document_id"),
    ([document("a", " ")], "documents[0].text"),
    ([document("a", sensitivity=0)], "documents[0].sensitivity"),
    ([document("a", sensitivity=9)], "documents[0].sensitivity"),
    ([document("a", topics=[])], "documents[0].topics"),
    ([document("a", topics=["Not A Topic"])], "documents[0].topics[0]"),
    ([document("a", metadata={"$or": whole(1)})], "documents[0].metadata['$or']"),
    ([document("a", embedding=[float("nan")] * 256)], "documents[0].embedding[0]"),
    ([document("a", attributes={"weight": value_pb2.Value(number_value=1.5)})], "documents[0].attributes['weight']"),
    ([document("a", attributes={"tenant_id": text_value("tenant_b")})], "documents[0].attributes['tenant_id']"),
    ([document("a", attributes={"sensitivity": whole(1)})], "documents[0].attributes['sensitivity']"),
]


@pytest.mark.parametrize(("documents", "field_name"), BAD_DOCUMENTS)
async def test_bad_documents_are_named_and_nothing_of_their_batch_is_stored(
    service: Service, documents: list[document_pb2.DocumentInput], field_name: str
) -> None:
    refused = await refusal(service.load(*documents))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields[0] == field_name
    assert await service.collections() == {}
    assert [entry.name for entry in service.chroma.iterdir() if entry.is_dir()] == []


async def test_text_that_is_not_utf8_is_named(service: Service) -> None:
    good = pb.SearchDocumentsRequest(grant="g", query=query_pb2.Query(text="QQQQ"), k=1).SerializeToString()
    search = service.channel.unary_unary(f"/{SERVICE_NAME}/SearchDocuments")
    refused = await refusal(search(good.replace(b"QQQQ", b"Q\xff\xffQ")))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("query.text",))


async def test_a_message_that_is_too_large_is_refused(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, max_message_bytes=2_000) as service:
        refused = await refusal(service.load(document("a", "x" * 3_000)))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        await service.load(document("a", "x" * 100))


async def test_writes_keep_to_the_residual(service: Service) -> None:
    grant = service.signer.grant(Action.WRITE, up_to(Sensitivity.INTERNAL))
    refused = await refusal(service.load(document("a"), document("b", sensitivity=SECRET), grant=grant))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert refused.fields == ("documents[1]",)
    assert await service.collections() == {}
    await service.load(document("taken", "above", SECRET))
    replaced = await refusal(service.load(document("b"), document("taken"), grant=grant))
    assert replaced.details == refused.details, "a label that is too high and a row that is too high look alike"
    assert [each.text for each in await service.get("taken", "b")] == ["above"]


async def test_grants_are_for_one_action(service: Service) -> None:
    write, read = service.signer.grant(Action.WRITE), service.signer.grant()
    calls: list[Awaitable[object]] = [
        service.search(write),
        service.get("a", grant=write),
        service.collections(write),
        service.delete("a", grant=read),
        service.load(document("a"), grant=read),
        service.load(document("a"), grant=service.signer.grant(Action.CONFIGURE)),
    ]
    for call in calls:
        assert (await refusal(call)).reason == "INVALID_GRANT"


async def test_grants_that_do_not_verify_are_refused_alike(service: Service, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Signer(tmp_path / "stranger")
    good = service.signer.grant()
    claims = jwt.decode(good, options={"verify_signature": False})
    headers = jwt.get_unverified_header(good)

    def signed(**changes: object) -> str:
        return jwt.encode({**claims, **changes}, service.signer.key, algorithm="EdDSA", headers=headers)

    assert await service.ids(signed()) == []
    header, payload, signature = good.split(".")
    bad = [
        "",
        "nonsense",
        stranger.grant(),
        service.signer.grant(seconds=-10),
        f"{header}.{payload}.{signature[:-4]}AAAA",
        signed(aud="vecsec"),
        signed(iss="somebody"),
        signed(tenant_id="../tenant_b"),
        signed(tenant_id=""),
        jwt.encode(claims, "", algorithm="none", headers={"kid": headers["kid"], "typ": headers["typ"]}),
    ]
    refusals = [
        await refusal(
            service.stub.SearchDocuments(pb.SearchDocumentsRequest(grant=each, query=query_pb2.Query(text="x"), k=1))
        )
        for each in bad
    ]
    assert {each.code for each in refusals} == {grpc.StatusCode.UNAUTHENTICATED}
    assert len({each.details for each in refusals}) == 1


async def test_a_grant_without_usable_rules_is_refused(service: Service) -> None:
    await service.load(document("one"))
    assert (await refusal(service.search(service.signer.grant(residual="{}")))).reason == "INVALID_GRANT"


async def test_a_grant_that_expires_during_an_import_needs_a_fresh_one_of_the_same_caller(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_begun, an_hour_later = asyncio.Barrier(4), time.time() + 3600

    async def import_two(second_grant: str) -> list[int]:
        call = service.stub.ImportDocuments(timeout=SECONDS)
        await call.write(pb.ImportDocumentsRequest(grant=service.signer.grant(Action.WRITE), documents=[document("a")]))
        first = await call.read()
        await all_have_begun.wait()
        monkeypatch.setattr(time, "time", lambda: an_hour_later)
        await call.write(pb.ImportDocumentsRequest(grant=second_grant, documents=[document("b")]))
        second = await call.read()
        call.cancel()
        return [first.total_stored_count, second.total_stored_count]

    others = [
        "",
        service.signer.grant(Action.WRITE, subject="bob", seconds=7200),
        service.signer.grant(Action.WRITE, tenant_id="tenant_b", seconds=7200),
    ]
    counts, *refusals = await asyncio.gather(
        import_two(service.signer.grant(Action.WRITE, seconds=7200)), *(refusal(import_two(other)) for other in others)
    )
    assert counts == [1, 2]
    assert {each.reason for each in refusals} == {"INVALID_GRANT"}
