"""The retrieval service over gRPC, in its production wiring, with grants signed by a key of the test."""

import asyncio
import json
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import jwt
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import Refusal, refusal
from unit.retrieval.worlds import permit, up_to

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec.type.v1 import document_pb2, filter_pb2, query_pb2, value_pb2
from vecsec_chassis.access import Action, Grant
from vecsec_chassis.errors import StartupError
from vecsec_chassis.grants import GrantSigner, thumbprint
from vecsec_chassis.labels import Sensitivity
from vecsec_retrieval import patience
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.handlers import SERVICE_NAME
from vecsec_retrieval.settings import RetrievalSettings
from vecsec_retrieval.stores.chroma_collections import ChromaCell
from vecsec_retrieval.stores.embedded import DATABASE_FILE, EmbeddedCellStore

PUBLIC, INTERNAL, SECRET = 1, 2, 4
SECONDS = 20


@dataclass
class Signer:
    """Plays the policy service."""

    folder: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        public = jwt.algorithms.OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.jwks = self.folder / "grant.jwks.json"
        self.jwks.write_text(json.dumps({"keys": [{**public, "kid": thumbprint(self.key)}]}))

    def grant(
        self,
        action: Action = Action.READ,
        residual: str | None = None,
        *,
        tenant_id: str = "tenant_a",
        subject: str = "alice",
        may_configure: bool = False,
        seconds: float = 60,
    ) -> str:
        grant = Grant(
            subject=subject,
            caller_tenant_id=tenant_id,
            role="analyst",
            tenant_id=tenant_id,
            action=action,
            residual=permit() if residual is None else residual,
            may_configure=may_configure,
            policy_version="1",
            expires_at=time.time() + seconds,
        )
        return GrantSigner(self.key, thumbprint(self.key)).sign(grant)


@dataclass
class Service:
    """A running retrieval service and what a caller needs."""

    stub: "retrieval_service_pb2_grpc.RetrievalServiceAsyncStub"
    channel: grpc.aio.Channel
    signer: Signer
    chroma: Path
    metrics_port: int

    async def load(
        self, *documents: document_pb2.DocumentInput, tenant_id: str = "tenant_a", **fields: object
    ) -> list[pb.ImportDocumentsResponse]:
        grant = fields.pop("grant", self.signer.grant(Action.WRITE, tenant_id=tenant_id))
        request = pb.ImportDocumentsRequest(grant=grant, documents=documents, **fields)  # type: ignore[arg-type]
        return await self.load_all([request])

    async def load_all(self, requests: Sequence[pb.ImportDocumentsRequest]) -> list[pb.ImportDocumentsResponse]:
        return [answer async for answer in self.stub.ImportDocuments(iter(requests), timeout=SECONDS)]

    async def search(self, grant: str | None = None, **fields: object) -> pb.SearchDocumentsResponse:
        defaults = {"query": query_pb2.Query(text="anything"), "k": 10, "grant": grant or self.signer.grant()}
        return await self.stub.SearchDocuments(
            pb.SearchDocumentsRequest(**{**defaults, **fields}),  # type: ignore[arg-type]
            timeout=SECONDS,
        )

    async def ids(self, grant: str | None = None, **fields: object) -> list[str]:
        return [result.document.document_id for result in (await self.search(grant, **fields)).results]

    async def get(self, *document_ids: str, grant: str | None = None, **fields: object) -> list[document_pb2.Document]:
        request = pb.GetDocumentsRequest(
            grant=grant or self.signer.grant(),
            document_ids=document_ids,
            **fields,  # type: ignore[arg-type]
        )
        return list((await self.stub.GetDocuments(request, timeout=SECONDS)).documents)

    async def delete(self, *document_ids: str, grant: str | None = None, collection_id: str = "") -> int:
        request = pb.DeleteDocumentsRequest(
            grant=grant or self.signer.grant(Action.DELETE), document_ids=document_ids, collection_id=collection_id
        )
        return (await self.stub.DeleteDocuments(request, timeout=SECONDS)).deleted_count

    async def collections(self, grant: str | None = None) -> dict[str, int]:
        request = pb.ListCollectionsRequest(grant=grant or self.signer.grant())
        answer = await self.stub.ListCollections(request, timeout=SECONDS)
        return {each.collection_id: each.document_count for each in answer.collections}

    async def is_serving(self, name: str = "") -> bool:
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
            found = re.search(rf"^{re.escape(name)} (\S+)$", response.read().decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])


@asynccontextmanager
async def running(folder: Path, signer: Signer, **settings: object) -> AsyncIterator[Service]:
    chosen = RetrievalSettings(
        _env_file=None,
        **{
            "port": 0,
            "metrics_port": 0,
            "grant_jwks": str(signer.jwks),
            "chroma_path": folder / "chroma",
            "shutdown_grace_seconds": 5,
            **settings,
        },
    )
    async with (
        running_retrieval(chosen) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
        yield Service(stub, channel, signer, folder / "chroma", service.metrics_port)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
async def service(tmp_path: Path, signer: Signer) -> AsyncIterator[Service]:
    async with running(tmp_path, signer) as running_service:
        yield running_service


def text_value(text: str) -> value_pb2.Value:
    return value_pb2.Value(string_value=text)


def whole(number: int) -> value_pb2.Value:
    return value_pb2.Value(integer_value=number)


def document(
    document_id: str, text: str = "a passage", sensitivity: int = INTERNAL, **fields: object
) -> document_pb2.DocumentInput:
    defaults: dict[str, object] = {"topics": ["marketing"]}
    return document_pb2.DocumentInput(
        document_id=document_id,
        text=text,
        sensitivity=sensitivity,
        **{**defaults, **fields},  # type: ignore[arg-type]
    )


def vector_query(*numbers: float) -> query_pb2.Query:
    return query_pb2.Query(vector=query_pb2.Vector(values=numbers))


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_the_nearest_visible_documents_come_first(service: Service) -> None:
    await service.load(
        document("cats", "Cats and kittens purr and sleep all day", PUBLIC),
        document("ships", "The ship sails across the stormy ocean", INTERNAL),
        document("secret", "Kittens: the secret kitten programme", SECRET),
    )
    answer = await service.search(
        service.signer.grant(residual=up_to(Sensitivity.INTERNAL), may_configure=True),
        query=query_pb2.Query(text="kitten"),
    )
    assert [result.document.document_id for result in answer.results] == ["cats", "ships"]
    assert answer.metric == document_pb2.SIMILARITY_METRIC_COSINE
    assert answer.strategy == "exact_scan"
    best = answer.results[0]
    assert -1 <= answer.results[1].score <= best.score <= 1
    assert best.provenance == document_pb2.PROVENANCE_REAL
    assert best.document.text.startswith("Cats")
    assert best.document.label.tenant_id == "tenant_a"
    assert list(best.document.label.topics) == ["marketing"]
    assert not best.document.embedding


async def test_how_an_answer_was_found_is_told_to_those_alone_who_may_configure(service: Service) -> None:
    await service.load(document("one"))
    assert (await service.search()).strategy == ""
    assert (await service.search(service.signer.grant(may_configure=True))).strategy == "exact_scan"
    assert service.metric('vecsec_search_strategy_total{strategy="exact_scan"}') == 2


async def test_k_visible_documents_are_found_though_hidden_ones_are_nearer(service: Service) -> None:
    await service.load(
        *(document(f"hidden-{number}", "exactly what is looked for", SECRET) for number in range(300)),
        *(document(f"visible-{number}", f"something else {number}", PUBLIC) for number in range(12)),
    )
    found = await service.ids(
        service.signer.grant(residual=up_to(Sensitivity.PUBLIC)),
        query=query_pb2.Query(text="exactly what is looked for"),
        k=12,
    )
    assert len(found) == 12
    assert all(document_id.startswith("visible") for document_id in found)
    assert service.metric('vecsec_search_strategy_total{strategy="exact_scan"}') == 1
    assert service.metric("vecsec_rows_filtered_total") == 300


async def test_metadata_and_attributes_come_back_typed(service: Service) -> None:
    await service.load(
        document(
            "one",
            metadata={
                "text": text_value("x"),
                "whole": whole(2**60),
                "number": value_pb2.Value(number_value=2.0),
                "flag": value_pb2.Value(boolean_value=False),
            },
            attributes={
                "owner": text_value("alice"),
                "regions": value_pb2.Value(string_list_value=value_pb2.StringList(values=["eu", "us"])),
            },
        )
    )
    [found] = await service.get("one")
    assert found.metadata["whole"].integer_value == 2**60
    assert found.metadata["number"].number_value == 2.0
    assert found.metadata["number"].WhichOneof("kind") == "number_value"
    assert found.metadata["flag"].WhichOneof("kind") == "boolean_value"
    assert found.label.attributes["owner"].string_value == "alice"
    assert list(found.label.attributes["regions"].string_list_value.values) == ["eu", "us"]


async def test_filters_narrow_a_search(service: Service) -> None:
    await service.load(*(document(f"d{year}", metadata={"year": whole(year)}) for year in range(2000, 2010)))

    def years(**bounds: float) -> filter_pb2.MetadataFilter:
        return filter_pb2.MetadataFilter(range=filter_pb2.MetadataFilter.Range(key="year", **bounds))

    assert set(await service.ids(filter=years(more_than=2007))) == {"d2008", "d2009"}
    either = filter_pb2.MetadataFilter(
        any_of=filter_pb2.MetadataFilter.AnyOf(
            filters=[
                years(at_most=2000),
                filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key="year", value=whole(2005))),
            ]
        )
    )
    assert set(await service.ids(filter=either)) == {"d2000", "d2005"}
    one_of = {"in": filter_pb2.MetadataFilter.In(key="year", values=[whole(2001), whole(1990)])}
    assert await service.ids(filter=filter_pb2.MetadataFilter(**one_of)) == ["d2001"]  # type: ignore[arg-type]


async def test_imports_replace_and_leave_nothing_of_what_was_there(service: Service) -> None:
    await service.load(document("one", "old", metadata={"old": whole(1), "kept": whole(1)}))
    [answer] = await service.load(document("one", "new", PUBLIC, metadata={"kept": whole(2)}))
    assert (answer.batch_number, answer.stored_count, answer.total_stored_count) == (1, 1, 1)
    [found] = await service.get("one")
    assert (found.text, found.label.sensitivity, dict(found.metadata)) == ("new", PUBLIC, {"kept": whole(2)})
    assert await service.collections() == {"documents": 1}


async def test_a_stream_answers_each_batch_and_needs_its_grant_once(service: Service) -> None:
    grant = service.signer.grant(Action.WRITE)
    batches = [
        pb.ImportDocumentsRequest(
            grant=grant if number == 0 else "", documents=[document(f"{number}-{row}") for row in range(3)]
        )
        for number in range(3)
    ]
    answers = await service.load_all(batches)
    assert [(each.batch_number, each.stored_count, each.total_stored_count) for each in answers] == [
        (1, 3, 3),
        (2, 3, 6),
        (3, 3, 9),
    ]


async def test_an_import_that_is_cut_off_is_taken_up_again(tmp_path: Path, signer: Signer) -> None:
    batches = [
        pb.ImportDocumentsRequest(
            grant=signer.grant(Action.WRITE), documents=[document(f"{number}-{row}") for row in range(50)]
        )
        for number in range(4)
    ]
    async with running(tmp_path, signer) as first:
        call = first.stub.ImportDocuments(timeout=SECONDS)
        await call.write(batches[0])
        assert (await call.read()).batch_number == 1
        await call.write(batches[1])
        call.cancel()
    async with running(tmp_path, signer) as second:
        count = (await second.collections())["documents"]
        assert count in {50, 100}, "a batch is stored whole or not at all"
        assert len(await second.load_all(batches)) == 4
        assert await second.collections() == {"documents": 200}
        assert len(await second.ids(k=500)) == 200


async def test_acknowledged_documents_are_there_after_a_restart_and_become_hot(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer) as first:
        await first.load(*(document(f"d{number}", f"passage {number}", PUBLIC) for number in range(200)))
        expected = await first.search(query=query_pb2.Query(text="passage 7"))
    async with running(tmp_path, signer) as second:
        configurer = signer.grant(may_configure=True)
        cold = await second.search(configurer, query=query_pb2.Query(text="passage 7"))
        assert cold.strategy == "chroma_overfetch"

        async def is_hot() -> bool:
            return (await second.search(configurer)).strategy == "exact_scan"

        await eventually(is_hot)
        hot = await second.search(query=query_pb2.Query(text="passage 7"))
        for answer in (cold, hot):
            assert answer.results[0].document == expected.results[0].document
            np.testing.assert_allclose(
                [each.score for each in answer.results], [each.score for each in expected.results], atol=1e-5
            )


async def test_get_leaves_out_missing_and_hidden_alike_and_keeps_the_order(service: Service) -> None:
    await service.load(document("a"), document("b"), document("c", sensitivity=SECRET))
    found = await service.get(
        "b", "nothing", "c", "a", "b", grant=service.signer.grant(residual=up_to(Sensitivity.INTERNAL))
    )
    assert [each.document_id for each in found] == ["b", "a"]


async def test_delete_counts_what_may_not_be_deleted_as_absent(service: Service) -> None:
    await service.load(document("a"), document("b"), document("c", sensitivity=SECRET))
    grant = service.signer.grant(Action.DELETE, up_to(Sensitivity.INTERNAL))
    assert await service.delete("a", "c", "nothing", "a", grant=grant) == 1
    assert {each.document_id for each in await service.get("a", "b", "c")} == {"b", "c"}
    assert await service.ids() == ["b", "c"]


async def test_lists_hold_visible_collections_and_counts_alone(service: Service) -> None:
    await service.load(document("a", sensitivity=PUBLIC), document("b", sensitivity=SECRET))
    await service.load(document("c", sensitivity=SECRET), collection_id="hidden")
    assert await service.collections() == {"documents": 2, "hidden": 1}
    assert await service.collections(service.signer.grant(residual=up_to(Sensitivity.PUBLIC))) == {"documents": 1}
    assert await service.collections(service.signer.grant(tenant_id="tenant_b")) == {}


async def test_the_same_id_in_two_tenants_is_two_documents(service: Service) -> None:
    await service.load(document("one", "of a"))
    await service.load(document("one", "of b"), tenant_id="tenant_b")
    assert await service.delete("one") == 1
    assert await service.get("one") == []
    [other] = await service.get("one", grant=service.signer.grant(tenant_id="tenant_b"))
    assert (other.text, other.label.tenant_id) == ("of b", "tenant_b")


async def test_reading_makes_no_cell(service: Service) -> None:
    assert await service.ids() == []
    assert await service.get("one") == []
    assert await service.collections() == {}
    assert await service.delete("one") == 0
    assert [entry.name for entry in service.chroma.iterdir()] == [".lock"]


async def test_a_hidden_collection_and_an_absent_one_are_refused_with_the_same_bytes(service: Service) -> None:
    await service.load(document("one", sensitivity=SECRET, metadata={"x": whole(1)}), collection_id="the-one")
    await service.load(document("own", sensitivity=PUBLIC))
    little = service.signer.grant(residual=up_to(Sensitivity.PUBLIC))
    little_delete = service.signer.grant(Action.DELETE, up_to(Sensitivity.PUBLIC))

    async def refusals(collection_id: str) -> list[Refusal]:
        calls: list[Awaitable[object]] = [
            service.search(little, collection_id=collection_id),
            service.search(little, collection_id=collection_id, query=vector_query(1, 2)),
            service.search(
                little,
                collection_id=collection_id,
                filter=filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key="x", value=whole(1))),
            ),
            service.get("one", grant=little, collection_id=collection_id),
            service.delete("one", grant=little_delete, collection_id=collection_id),
        ]
        return [await refusal(call) for call in calls]

    hidden, absent = await refusals("the-one"), await refusals("the-two")
    for seen, unseen in zip(hidden, absent, strict=True):
        assert seen.code is grpc.StatusCode.NOT_FOUND
        assert seen.reason == "COLLECTION_NOT_FOUND"
        assert seen.details.replace(b"the-one", b"the-two") == unseen.details
    assert await service.ids(little) == ["own"]


async def test_a_key_that_only_hidden_documents_have_is_unknown(service: Service) -> None:
    await service.load(
        document("one", sensitivity=SECRET, metadata={"codename": whole(1)}), document("two", sensitivity=PUBLIC)
    )

    async def refused(key: str) -> Refusal:
        condition = filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key=key, value=whole(1)))
        return await refusal(service.search(service.signer.grant(residual=up_to(Sensitivity.PUBLIC)), filter=condition))

    hidden, absent = await refused("codename"), await refused("codenamf")
    assert hidden.fields == ("filter.equals.key",)
    assert hidden.details.replace(b"codename", b"codenamf") == absent.details
    for reserved in ("vs_tenant", "vs_label"):
        assert (await refused(reserved)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_embeddings_are_for_callers_who_may_configure(service: Service) -> None:
    vectors = {"a": [3.0, 4.0, 0.0], "b": [0.0, 0.0, 2.0]}
    await service.load(*(document(name, embedding=vector) for name, vector in vectors.items()))
    for call in (
        service.search(query=vector_query(1, 1, 1), include_embeddings=True),
        service.get("a", include_embeddings=True),
    ):
        assert (await refusal(call)).reason == "ACCESS_DENIED"
    administrator = service.signer.grant(may_configure=True)
    answer = await service.search(administrator, query=vector_query(3, 4, 0), include_embeddings=True)
    assert [result.document.document_id for result in answer.results] == ["a", "b"]
    for found in [result.document for result in answer.results] + await service.get(
        "a", "b", grant=administrator, include_embeddings=True
    ):
        np.testing.assert_allclose(found.embedding, vectors[found.document_id], rtol=1e-6)
    assert all(
        not result.document.embedding
        for result in (await service.search(administrator, query=vector_query(1, 1, 1))).results
    )


async def test_collections_keep_their_model_and_dimensions(service: Service) -> None:
    await service.load(document("a", embedding=[1, 0]), collection_id="mine")
    refused = [
        (service.search(collection_id="mine"), "query.text"),
        (service.search(collection_id="mine", query=vector_query(1)), "query.vector.values"),
        (service.search(collection_id="mine", query=vector_query(0, 0)), "query.vector.values"),
        (service.load(document("b", embedding=[1, 0, 0]), collection_id="mine"), "documents[0].embedding"),
        (service.load(document("b", embedding=[0, 0]), collection_id="mine"), "documents[0].embedding"),
        (service.load(document("b"), collection_id="mine"), "documents[0].embedding"),
        (
            service.load(document("b", embedding=[1, 0]), collection_id="mine", embedding_model="wordllama"),
            "embedding_model",
        ),
        (service.load(document("b"), collection_id="other", embedding_model="gpt-9"), "embedding_model"),
        (service.load(document("b"), document("c", embedding=[1, 0]), collection_id="other"), "documents[1].embedding"),
        (service.load(document("b"), collection_id="other", embedding_model="external"), "documents[0].embedding"),
    ]
    for call, field_name in refused:
        assert (await refusal(call)).fields == (field_name,)
    assert await service.collections() == {"mine": 1}
    await service.load(document("b", embedding=[0, 1]), collection_id="mine", embedding_model="external")
    request = pb.ListCollectionsRequest(grant=service.signer.grant())
    [listed] = (await service.stub.ListCollections(request)).collections
    assert (listed.embedding_model, listed.dimensions, listed.document_count) == ("external", 2, 2)
    assert listed.metric == document_pb2.SIMILARITY_METRIC_COSINE


async def test_a_hidden_collections_model_is_not_told(service: Service) -> None:
    await service.load(document("a", sensitivity=SECRET, embedding=[1, 0]), collection_id="hidden")
    little = service.signer.grant(Action.WRITE, up_to(Sensitivity.PUBLIC))

    async def refused(collection_id: str, model: str, grant: str = little) -> Refusal:
        return await refusal(
            service.load(
                document("b", sensitivity=PUBLIC), grant=grant, collection_id=collection_id, embedding_model=model
            )
        )

    assert (await refused("hidden", "nope")).details == (await refused("absent", "nope")).details
    secretive, open_hearted = (
        await refused("hidden", "wordllama"),
        await refused("hidden", "wordllama", service.signer.grant(Action.WRITE)),
    )
    assert secretive.fields == open_hearted.fields == ("embedding_model",)
    assert "external" not in secretive.message
    assert "external" in open_hearted.message


async def test_answers_that_would_be_too_large_are_refused_before_they_are_built(
    tmp_path: Path, signer: Signer
) -> None:
    async with running(tmp_path, signer, max_answer_bytes=10_000) as service:
        await service.load(*(document(f"d{number}", "ü" * 1_000) for number in range(8)))
        assert len(await service.ids(k=4)) == 4
        assert len(await service.get(*(f"d{number}" for number in range(4)))) == 4
        for call in (service.ids(k=8), service.get(*(f"d{number}" for number in range(8)))):
            refused = await refusal(call)
            assert refused.reason == "LIMIT_EXCEEDED"
            assert "the first 4 of 8 documents fit" in refused.message


async def test_an_import_that_says_nothing_ends(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_MESSAGE_SECONDS", 0.2)
    monkeypatch.setattr(patience, "NEXT_MESSAGE_SECONDS", 0.4)
    async with running(tmp_path, signer) as service:
        call = service.stub.ImportDocuments(timeout=SECONDS)
        assert (await refusal(call.read())).reason == "DEADLINE_EXCEEDED"
        call = service.stub.ImportDocuments(timeout=SECONDS)
        await call.write(pb.ImportDocumentsRequest(grant=signer.grant(Action.WRITE), documents=[document("one")]))
        assert (await call.read()).stored_count == 1
        await asyncio.sleep(0.25)
        await call.write(pb.ImportDocumentsRequest(documents=[document("two")]))
        assert (await call.read()).stored_count == 1
        assert (await refusal(call.read())).reason == "DEADLINE_EXCEEDED"
        assert await service.ids() == ["one", "two"]


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
    assert [entry.name for entry in service.chroma.iterdir()] == [".lock"]


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


async def test_a_grant_that_expires_during_an_import_needs_a_fresh_one_of_the_same_caller(service: Service) -> None:
    async def import_two(second_grant: str) -> list[int]:
        call = service.stub.ImportDocuments(timeout=SECONDS)
        await call.write(
            pb.ImportDocumentsRequest(grant=service.signer.grant(Action.WRITE, seconds=0), documents=[document("a")])
        )
        first = await call.read()
        await asyncio.sleep(2.1)  # the tolerated clock skew is over now
        await call.write(pb.ImportDocumentsRequest(grant=second_grant, documents=[document("b")]))
        second = await call.read()
        call.cancel()
        return [first.total_stored_count, second.total_stored_count]

    others = [
        "",
        service.signer.grant(Action.WRITE, subject="bob"),
        service.signer.grant(Action.WRITE, tenant_id="tenant_b"),
    ]
    counts, *refusals = await asyncio.gather(
        import_two(service.signer.grant(Action.WRITE)), *(refusal(import_two(other)) for other in others)
    )
    assert counts == [1, 2]
    assert {each.reason for each in refusals} == {"INVALID_GRANT"}


async def test_with_the_flag_off_no_real_row_leaves(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, use_real_vector_retrieval=False) as service:
        await service.load(document("one"), document("two"))
        for call in (service.search(), service.get("one")):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REAL_RETRIEVAL_OFF")
        assert await service.collections() == {"documents": 2}
        assert await service.delete("one") == 1
        assert service.metric("vecsec_feature_flag") == 0


async def test_the_flag_is_obeyed_live_and_per_tenant(tmp_path: Path, signer: Signer) -> None:
    flags = tmp_path / "flags.json"
    async with running(tmp_path, signer, flag_file=flags) as service:
        await service.load(document("one"))
        await service.load(document("one"), tenant_id="tenant_b")
        assert await service.ids() == ["one"]
        rule = {"if": [{"==": [{"var": "tenant_id"}, "tenant_a"]}, "off", "on"]}
        flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on", "targeting": rule}
        flags.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

        async def is_off() -> bool:
            try:
                await service.search()
            except grpc.aio.AioRpcError:
                return True
            return False

        await eventually(is_off)
        assert await service.ids(service.signer.grant(tenant_id="tenant_b")) == ["one"]


async def test_a_damaged_cell_is_an_error_of_its_tenant_alone(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_retrieval.heartbeat.INTERVAL_SECONDS", 0.05)
    async with running(tmp_path, signer) as first:
        for tenant_id in ("tenant_a", "tenant_b"):
            await first.load(document("one"), tenant_id=tenant_id)
    database = tmp_path / "chroma" / "tenant_a" / DATABASE_FILE
    shutil.copy(database, tmp_path / "backup")
    database.write_bytes(b"garbage" * 10_000)
    async with running(tmp_path, signer) as service:
        assert await service.is_serving("vecsec.retrieval.cells")
        for call in (service.search(), service.get("one"), service.load(document("two")), service.delete("one")):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED")
            assert str(tmp_path) not in refused.message
        assert await service.ids(service.signer.grant(tenant_id="tenant_b")) == ["one"]
        assert database.read_bytes() == b"garbage" * 10_000

        async def shows() -> bool:
            return not await service.is_serving("vecsec.retrieval.cells")

        await eventually(shows)
        assert await service.is_serving()
        assert await service.is_serving(SERVICE_NAME)
        shutil.copy(tmp_path / "backup", database)
        assert await service.ids() == ["one"]
        await eventually(lambda: service.is_serving("vecsec.retrieval.cells"))


async def test_a_store_that_is_gone_shows_in_health_metric_and_log(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vecsec_retrieval.heartbeat.INTERVAL_SECONDS", 0.05)
    async with running(tmp_path, signer) as service:
        assert await service.is_serving()
        assert service.metric("vecsec_vector_store_up") == 1
        (tmp_path / "chroma").rename(tmp_path / "elsewhere")

        async def is_down() -> bool:
            return not await service.is_serving()

        await eventually(is_down)
        assert service.metric("vecsec_vector_store_up") == 0
        (tmp_path / "elsewhere").rename(tmp_path / "chroma")
        await eventually(service.is_serving)
    written = capsys.readouterr().out
    for line in ("Using real vector store", "Vector store connection lost", "Vector store connection restored"):
        assert line in written


async def test_a_remote_store_that_is_not_there_yet_keeps_nobody_from_starting(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, chroma_url="http://127.0.0.1:1") as service:
        assert not await service.is_serving()
        refused = await refusal(service.search())
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
        assert refused.retry_seconds


async def test_unusable_settings_end_the_start_in_one_line(tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "file").write_text("")
    for settings, name in [
        ({"chroma_path": tmp_path / "file" / "x"}, "CHROMA_PATH"),
        ({"chroma_url": "nonsense"}, "CHROMA_CONNECTION_STRING"),
        ({"embedding_model": "nonsense"}, "VECSEC_EMBEDDING_MODEL"),
        ({"embedding_model": "chroma:nonsense"}, "VECSEC_EMBEDDING_MODEL"),
        ({"grant_jwks": str(tmp_path / "missing.json")}, "missing.json"),
    ]:
        with pytest.raises(StartupError, match=name) as raised:
            async with running(tmp_path, signer, **settings):
                pass
        assert "\n" not in str(raised.value)


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Opening a cell takes until this is set."""
    go = threading.Event()
    real = EmbeddedCellStore.open

    def slow(store: EmbeddedCellStore, tenant_id: str, *, create: bool) -> object:
        assert go.wait(10)
        return real(store, tenant_id, create=create)

    monkeypatch.setattr(EmbeddedCellStore, "open", slow)
    yield go
    go.set()


async def test_a_deadline_is_honoured_while_the_store_is_busy(
    tmp_path: Path, signer: Signer, held_up: threading.Event
) -> None:
    async with running(tmp_path, signer) as service:
        started = time.monotonic()
        request = pb.SearchDocumentsRequest(grant=signer.grant(), query=query_pb2.Query(text="x"), k=1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.stub.SearchDocuments(request, timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 2
        held_up.set()


async def test_a_cancelled_call_never_reaches_a_busy_store(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, signer, store_threads=1) as service:
        await service.load(document("one"))
        go, begun, upserts = threading.Event(), threading.Event(), list[int]()
        real = ChromaCell.upsert

        def slow(cell: ChromaCell, collection_id: str, rows: Sequence[object]) -> None:
            upserts.append(len(rows))
            begun.set()
            assert go.wait(10)
            real(cell, collection_id, rows)  # type: ignore[arg-type]

        monkeypatch.setattr(ChromaCell, "upsert", slow)
        first = asyncio.create_task(service.load(*(document(f"first-{number}") for number in range(2))))
        await asyncio.to_thread(begun.wait, 10)
        second = asyncio.create_task(
            service.load(*(document(f"second-{number}") for number in range(3)), tenant_id="tenant_b")
        )
        await asyncio.sleep(0.3)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.sleep(0.3)
        go.set()
        await first
        monkeypatch.setattr(ChromaCell, "upsert", real)
        assert 3 not in upserts
        assert await service.collections(signer.grant(tenant_id="tenant_b")) == {}
        assert await service.collections() == {"documents": 3}


async def test_a_write_that_was_acknowledged_or_has_begun_survives_the_end_of_the_service(
    tmp_path: Path, signer: Signer
) -> None:
    acknowledged = 0
    async with running(tmp_path, signer) as service:

        async def write_for_ever() -> None:
            nonlocal acknowledged
            for number in range(10_000):
                await service.load(document(f"d{number}"))
                acknowledged = number + 1

        writer = asyncio.create_task(write_for_ever())
        await asyncio.sleep(1)
        writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert acknowledged > 3
    async with running(tmp_path, signer) as service:
        assert (await service.collections())["documents"] >= acknowledged


async def test_many_tenants_share_a_small_budget(tmp_path: Path, signer: Signer) -> None:
    async with running(tmp_path, signer, memory_limit_bytes=10 * 2**20) as service:
        tenants = [f"t{number}" for number in range(8)]
        for tenant_id in tenants:
            await service.load(document("one", f"of {tenant_id}"), tenant_id=tenant_id)
        for tenant_id in tenants * 2:
            [result] = (await service.search(signer.grant(tenant_id=tenant_id))).results
            assert result.document.text == f"of {tenant_id}"
        assert service.metric("vecsec_open_cells") <= 3
