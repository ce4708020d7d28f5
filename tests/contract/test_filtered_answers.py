"""A service gives the same answers by the same filters, whichever store it stands on: what a plain evaluation over the
rows that the caller may read gives."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from contract.conftest import ChromaServer
from support.refusals import refusal
from support.retrieval_alone import INTERNAL, PUBLIC, SECONDS, SECRET, Service, Signer, document, running
from unit.retrieval.worlds import up_to

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import label_pb2, query_pb2, value_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_client.filters import (
    MetadataFilter,
    all_of,
    any_of,
    at_least,
    between,
    equals,
    exists,
    in_,
    less_than,
    missing,
    not_,
    text_contains,
)
from vecsec_client.frameworks.conditions import holds
from vecsec_client.values import Scalar
from vecsec_client.wire.filters import filter_to_proto
from vecsec_client.wire.values import value_to_proto

ROWS: dict[str, tuple[str, dict[str, Scalar], int]] = {
    "a": ("An der Straße", {"lang": "de", "year": 2020, "draft": True}, PUBLIC),
    "b": ("On the street", {"lang": "en", "year": 2021.5, "draft": False}, PUBLIC),
    "c": ("In the STREET", {"lang": "en", "year": 2022}, INTERNAL),
    "d": ("Dans la rue", {"lang": "fr"}, INTERNAL),
    "e": ("Nowhere", {}, PUBLIC),
    "f": ("street, no year", {"year": 2**53 + 1, "lang": ""}, PUBLIC),
    "hidden": ("On the street", {"lang": "en", "year": "2021", "secret": 1}, SECRET),
}
VISIBLE = {name: row for name, row in ROWS.items() if row[2] != SECRET}
FILTERS: list[MetadataFilter] = [
    equals("lang", "en"),
    not_(equals("lang", "en")),
    not_(in_("lang", ["en", "de"])),
    any_of(not_(equals("lang", "en")), missing("lang")),
    exists("year"),
    missing("year"),
    exists("secret"),
    missing("secret"),
    not_(equals("year", 2020)),
    not_(between("year", 2020, 2021)),
    not_(at_least("year", 2021.5)),
    not_(equals("draft", value=True)),
    not_(not_(less_than("year", 2022))),
    not_(all_of(equals("lang", "en"), at_least("year", 2022))),
    not_(any_of(equals("lang", "en"), exists("draft"))),
    text_contains("street"),
    text_contains("Straße"),
    text_contains("e"),
    not_(text_contains("street")),
    all_of(text_contains("the"), not_(equals("lang", "de")), exists("draft")),
    any_of(text_contains("rue"), equals("draft", value=False)),
]
SEEN = up_to(Sensitivity.INTERNAL)


@pytest.fixture(params=["embedded", "remote"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def service(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    settings: dict[str, object] = {}
    if store == "remote":
        server: ChromaServer = request.getfixturevalue("chroma_server")
        settings["chroma_connection_string"] = server.url
    async with running(tmp_path, Signer(tmp_path), **settings) as running_service:
        yield running_service


async def fill(service: Service, tenant_id: str) -> None:
    await service.load(
        *(
            document(name, text, sensitivity, metadata={key: value_to_proto(value) for key, value in metadata.items()})
            for name, (text, metadata, sensitivity) in ROWS.items()
        ),
        tenant_id=tenant_id,
    )


async def test_every_call_that_takes_a_filter_means_the_same_by_it(service: Service) -> None:
    tenant_id = "filtered_everywhere"
    await fill(service, tenant_id)
    read, write, delete = (
        service.signer.grant(action, SEEN, tenant_id=tenant_id) for action in (Action.READ, Action.WRITE, Action.DELETE)
    )
    change = label_pb2.LabelChange(topics=["other"])
    for condition in FILTERS:
        expected = sorted(name for name, row in VISIBLE.items() if holds(condition, row[1], row[0]))
        wanted = filter_to_proto(condition)
        assert sorted(await service.ids(read, filter=wanted)) == expected, condition
        listed = await service.stub.ListDocumentIds(
            pb.ListDocumentIdsRequest(grant=read, filter=wanted, include_count=True), timeout=SECONDS
        )
        assert (list(listed.document_ids), listed.document_count) == (expected, len(expected)), condition
        got = await service.get(*ROWS, grant=read, filter=wanted)
        assert sorted(each.document_id for each in got) == expected, condition
        deleted = await service.stub.DeleteDocuments(
            pb.DeleteDocumentsRequest(grant=delete, read_grant=read, filter=wanted, dry_run=True), timeout=SECONDS
        )
        assert deleted.deleted_count == len(expected), condition
        relabelled = await service.stub.RelabelDocuments(
            pb.RelabelDocumentsRequest(grant=write, read_grant=read, filter=wanted, change=change, dry_run=True),
            timeout=SECONDS,
        )
        assert relabelled.relabelled_count == len(expected), condition
    doomed = filter_to_proto(not_(text_contains("street")))
    await service.stub.DeleteDocuments(
        pb.DeleteDocumentsRequest(grant=delete, read_grant=read, filter=doomed), timeout=SECONDS
    )
    assert sorted(await service.ids(service.signer.grant(tenant_id=tenant_id))) == ["b", "f", "hidden"]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            equals("year", "2020"),
            "'year' is compared with a text, but in the documents that you may read it is",
        ),
        (
            at_least("lang", 3),
            "'lang' is compared with a number, but in the documents that you may read it is",
        ),
        (equals("draft", 1), "'draft' is compared with a number"),
        (in_("year", [True, False]), "'year' is compared with a boolean"),
        (all_of(exists("lang"), equals("year", "2021")), "filter.all_of.filters[1].equals.key"),
    ],
)
async def test_a_number_compared_with_texts_is_told_wherever_nothing_matches(
    service: Service, store: str, condition: MetadataFilter, words: str
) -> None:
    """Of a Chroma server's rows nothing is told, be they few or many."""
    tenant_id = "filtered_kinds"
    await fill(service, tenant_id)
    read, delete, write = (
        service.signer.grant(action, SEEN, tenant_id=tenant_id) for action in (Action.READ, Action.DELETE, Action.WRITE)
    )
    wanted = filter_to_proto(condition)
    change = label_pb2.LabelChange(topics=["other"])
    for call in (
        lambda: service.search(read, filter=wanted),
        lambda: service.stub.ListDocumentIds(pb.ListDocumentIdsRequest(grant=read, filter=wanted), timeout=SECONDS),
        lambda: service.stub.DeleteDocuments(
            pb.DeleteDocumentsRequest(grant=delete, read_grant=read, filter=wanted, dry_run=True), timeout=SECONDS
        ),
        lambda: service.stub.RelabelDocuments(
            pb.RelabelDocumentsRequest(grant=write, read_grant=read, filter=wanted, change=change, dry_run=True),
            timeout=SECONDS,
        ),
    ):
        if store == "remote":
            await call()
            continue
        told = await refusal(call())
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
        assert words in told.message


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
async def test_what_is_told_of_kinds_follows_from_visible_rows_alone(service: Service) -> None:
    """Two worlds: in one, hidden rows have the kind that is asked for."""
    wanted = filter_to_proto(equals("size", "large"))
    told = []
    for tenant_id, hidden in (("kinds_without", {}), ("kinds_with", {"size": value_pb2.Value(string_value="large")})):
        await service.load(
            document("seen", "a note", PUBLIC, metadata={"size": value_pb2.Value(integer_value=3)}),
            document("hidden", "a note", SECRET, metadata=hidden),
            tenant_id=tenant_id,
        )
        grant = service.signer.grant(residual=SEEN, tenant_id=tenant_id)
        told.append(await refusal(service.search(grant, filter=wanted)))
        everything = service.signer.grant(tenant_id=tenant_id)
        if hidden:
            assert await service.ids(everything, filter=wanted) == ["hidden"]
    assert told[0].message == told[1].message
    assert told[0].code is told[1].code is grpc.StatusCode.INVALID_ARGUMENT


async def test_shapes_count_visible_rows_alone(service: Service) -> None:
    """Two worlds again: offsets, scores and equal texts, with and without hidden rows in between."""
    texts = [f"passage {number // 3}" for number in range(60)]
    answers = []
    for tenant_id in ("shapes_without", "shapes_with"):
        rows = [document(f"d{number:02d}", text, PUBLIC) for number, text in enumerate(texts)]
        if tenant_id == "shapes_with":
            rows += [document(f"c{number:02d}", text, SECRET) for number, text in enumerate(texts)]
        await service.load(*rows, tenant_id=tenant_id)
        grant = service.signer.grant(residual=SEEN, tenant_id=tenant_id)
        query = query_pb2.Query(text="passage 7")
        whole = await service.search(grant, query=query, k=60)
        tail = await service.search(grant, query=query, k=5, offset=7)
        assert list(tail.results) == list(whole.results)[7:12]
        assert not (await service.search(grant, query=query, k=5, offset=60)).results
        floor = whole.results[9].score
        good = await service.search(grant, query=query, k=60, min_score=floor)
        assert list(good.results) == [each for each in whole.results if each.score >= floor]
        distinct = await service.search(grant, query=query, k=20, distinct_texts=True)
        first: dict[str, str] = {}
        for each in whole.results:
            first.setdefault(each.document.text, each.document.document_id)
        assert [each.document.document_id for each in distinct.results] == list(first.values())
        part = await service.search(grant, query=query, k=3, offset=4, distinct_texts=True, min_score=-1)
        assert list(part.results) == list(distinct.results)[4:7]
        answers.append(
            [[(row.document.document_id, row.score) for row in each.results] for each in (whole, tail, distinct, part)]
        )
    assert answers[0] == answers[1]
