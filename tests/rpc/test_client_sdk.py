"""The SDK against the three real services in their production wiring."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.client_caller import Caller
from support.stack import Stack, running_stack
from tenancy.oracle import CLEARANCES

import vecsec_client
from vecsec_client import (
    AsyncVecSecClient,
    DocumentInput,
    DocumentsRejected,
    Provenance,
    RetryPolicy,
    Sensitivity,
    SimilarityMetric,
    VecSecClient,
    all_of,
    at_least,
    equals,
    in_,
)

As = Callable[[str], Caller]

with_both_clients = pytest.mark.parametrize("caller_as", [VecSecClient, AsyncVecSecClient], indirect=True)
"""What both have in common is tested apart; with real services, the paths where they differ."""

DOCUMENTS = [
    DocumentInput(
        document_id=f"{topic}-{level.lower()}",
        text=f"A {level.lower()} note about {topic}.",
        sensitivity=level,
        topics=[topic],
        metadata={"topic": topic, "rank": rank},
    )
    for topic in ("rag", "marketing")
    for rank, level in enumerate(Sensitivity)
]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        yield running


@pytest.fixture
async def caller_as(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[As]:
    """Makes a caller with a role, at its highest clearance, of tenant_a or of the tenant after an `@`."""
    kind = getattr(request, "param", AsyncVecSecClient)
    callers: list[Caller] = []

    def make(who: str) -> Caller:
        role, _, tenant = who.partition("@")
        token = stack.issuer.token(tenant or "tenant_a", role, CLEARANCES[role], role)
        client = kind(
            f"localhost:{stack.gateway_service.port}",
            token=token,
            default_tenant=tenant or "tenant_a",
            retry_policy=RetryPolicy(attempts=2, initial_wait_seconds=0.01),
        )
        callers.append(Caller(client))
        return callers[-1]

    yield make
    for caller in callers:
        await caller.call("close")


@pytest.fixture
async def loaded(caller_as: As) -> None:
    progress = await caller_as("admin").store(DOCUMENTS, batch_size=3)
    assert progress[-1].stored_count == len(DOCUMENTS)


@with_both_clients
@pytest.mark.usefixtures("loaded")
async def test_everybody_finds_what_they_may_read(caller_as: As) -> None:
    for who, levels in (("guest", 1), ("analyst", 2), ("superuser", 3), ("admin", 4)):
        answer = await caller_as(who).call("search", "notes about marketing", k=20)
        assert {row.document_id for row in answer.results} == {
            f"{topic}-{level.lower()}" for topic in ("rag", "marketing") for level in list(Sensitivity)[:levels]
        }
        assert answer.is_real
        assert answer.provenance is Provenance.REAL
        assert answer.metric is SimilarityMetric.FUSED_RANKS
        assert answer.policy_version
        assert answer.request_id
        scores = [row.score for row in answer.results]
        assert scores == sorted(scores, reverse=True)
        assert all(row.tenant_id == "tenant_a" for row in answer.results)


@with_both_clients
async def test_an_import_is_done_and_all_that_may_be_read_comes_back(caller_as: As) -> None:
    admin, analyst = caller_as("admin"), caller_as("analyst")
    summary = await admin.call(
        "import_documents", [*DOCUMENTS, replace(DOCUMENTS[0], document_id="untagged", topics=())]
    )
    assert (summary.stored_count, summary.rejected_count) == (len(DOCUMENTS), 1)
    assert [(each.index, each.field) for each in summary.rejected] == [(len(DOCUMENTS), "topics")]

    async def read(caller: Caller) -> list[str]:
        if isinstance(caller.client, AsyncVecSecClient):
            return [document.document_id async for document in caller.client.iter_documents()]
        return await asyncio.to_thread(lambda: [each.document_id for each in caller.client.iter_documents()])

    assert await read(admin) == sorted(document.document_id for document in DOCUMENTS)
    assert await read(analyst) == ["marketing-internal", "marketing-public", "rag-internal", "rag-public"]


@pytest.mark.usefixtures("loaded")
async def test_filters_narrow(caller_as: As) -> None:
    analyst = caller_as("analyst")

    async def found(condition: object) -> set[str]:
        answer = await analyst.call("search", "notes", k=20, filter=condition)
        return {row.document_id for row in answer.results}

    assert await found(all_of(equals("topic", "rag"), at_least("rank", 1))) == {"rag-internal"}
    assert await found(in_("topic", ["rag", "other"])) == {"rag-public", "rag-internal"}
    with pytest.raises(vecsec_client.InvalidArgument) as caught:
        await found(equals("$or", 1))
    assert caught.value.violations[0].field.startswith("filter")


@pytest.mark.usefixtures("loaded")
async def test_get_delete_and_list(caller_as: As) -> None:
    analyst, admin = caller_as("analyst"), caller_as("admin")
    ids = ["rag-secret", "rag-internal", "absent", "rag-public"]
    answer = await analyst.call("get_documents", ids)
    assert [document.document_id for document in answer.documents] == ["rag-internal", "rag-public"]
    assert answer.documents[0].metadata == {"topic": "rag", "rank": 1}
    assert answer.documents[0].embedding == ()

    (collection,) = await analyst.call("list_collections")
    assert (collection.collection_id, collection.document_count, collection.dimensions) == ("documents", 4, 256)

    with pytest.raises(vecsec_client.PermissionDenied):
        await analyst.call("delete_documents", ["rag-public"])
    assert (await admin.call("delete_documents", ["rag-public", "absent"])).deleted_count == 1
    assert (await admin.call("get_documents", ["rag-public"])).documents == ()


@pytest.mark.usefixtures("loaded")
async def test_embeddings_are_for_those_who_may_configure(caller_as: As) -> None:
    answer = await caller_as("admin").call("search", "marketing", k=1, include_embeddings=True)
    assert len(answer.results[0].embedding) == 256
    by_vector = await caller_as("analyst").call("search", answer.results[0].embedding, k=1)
    assert by_vector.results
    with pytest.raises(vecsec_client.PermissionDenied):
        await caller_as("analyst").call("search", "marketing", include_embeddings=True)


@with_both_clients
async def test_documents_above_the_writer_are_rejected_and_the_rest_is_stored(caller_as: As) -> None:
    progress = await caller_as("superuser").store(DOCUMENTS, batch_size=3)
    rejected = [each for step in progress for each in step.rejected]
    assert [(each.index, each.document_id) for each in rejected] == [(3, "rag-secret"), (7, "marketing-secret")]
    assert progress[-1].stored_count == 6
    answer = await caller_as("admin").call("search", "notes", k=20)
    assert len(answer.results) == 6


@with_both_clients
async def test_bad_documents_are_rejected_and_the_rest_is_stored(caller_as: As) -> None:
    def made(document_id: str, **changes: object) -> DocumentInput:
        fields = {"document_id": document_id, "text": "text", "sensitivity": "PUBLIC", "topics": ["rag"]}
        return DocumentInput(**{**fields, **changes})  # type: ignore[arg-type]

    documents = [
        made("good-1"),
        made("blank", text="  "),
        made("mock-1"),
        made("good-2"),
        made("untagged", topics=[]),
        made("unlevelled", sensitivity=None),
        made("short", embedding=[1.0, 2.0]),
        made("twice"),
        made("twice"),
        made("good-3"),
    ]
    progress = await caller_as("admin").store(documents, batch_size=4)
    rejected = [each for step in progress for each in step.rejected]
    assert {each.document_id for each in rejected} >= {"blank", "mock-1", "untagged", "unlevelled", "short"}
    assert all(each.field and each.reason for each in rejected)
    answer = await caller_as("admin").call("get_documents", ["good-1", "good-2", "good-3", "blank", "short"])
    assert {each.document_id for each in answer.documents} == {"good-1", "good-2", "good-3"}
    with pytest.raises(DocumentsRejected) as caught:
        await caller_as("admin").store(documents, batch_size=4, strict=True)
    assert caught.value.rejected[0].document_id == "blank"


@pytest.mark.usefixtures("loaded")
async def test_another_tenant_is_denied_whether_it_exists_or_not(caller_as: As) -> None:
    told = []
    for tenant in ("tenant_b", "tenant_nobody_has"):
        with pytest.raises(vecsec_client.PermissionDenied) as caught:
            await caller_as("analyst").call("search", "x", tenant=tenant)
        told.append((caught.value.reason, caught.value.message.replace(tenant, "it")))
    assert told[0] == told[1]
    counts = await caller_as("admin").call("count_violations")
    assert counts.counts["cross_tenant_violation"] == 2
    with pytest.raises(vecsec_client.PermissionDenied):
        await caller_as("analyst").call("count_violations")


async def test_explanations_tell_rules_to_administrators_only(caller_as: As) -> None:
    question = {"sensitivity": "SECRET", "topics": ["rag"]}
    analyst = await caller_as("analyst").call("explain_access", **question)
    admin = await caller_as("admin").call("explain_access", **question)
    assert (analyst.allowed, admin.allowed) == (False, True)
    assert analyst.determining_rules == ()
    assert admin.determining_rules
    assert analyst.incident_id


@pytest.mark.usefixtures("loaded")
async def test_the_flag_off_is_told_as_mock_or_refused(
    caller_as: As, stack: Stack, flag_off: Callable[[], None]
) -> None:
    flag_off()
    analyst = caller_as("analyst")
    async for answer in answers(analyst):
        if not answer.is_real:
            break
    assert answer.provenance is Provenance.MOCK
    assert answer.mock_reason is vecsec_client.MockReason.FLAG_OFF
    assert all(row.document_id.startswith("mock-") for row in answer.results)
    for method in ("search", "get_documents"):
        with pytest.raises(vecsec_client.RealRetrievalUnavailable) as caught:
            await analyst.call(method, ["x"] if method == "get_documents" else "x", timeout=None)
        assert caught.value.reason == "REAL_RETRIEVAL_OFF"
        assert caught.value.mock_reason is vecsec_client.MockReason.FLAG_OFF


async def answers(caller: Caller) -> AsyncIterator[vecsec_client.SearchAnswer]:
    for _ in range(200):
        yield await caller.call("search", "x", allow_mock=True)


@pytest.fixture
def flag_off(stack: Stack) -> Callable[[], None]:
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}

    def switch() -> None:
        stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

    return switch


async def test_a_foreign_token_is_refused(caller_as: As, stack: Stack) -> None:
    caller = caller_as("analyst")
    token = stack.issuer.token(aud="somebody else")
    client = type(caller.client)(f"localhost:{stack.gateway_service.port}", token=token, default_tenant="tenant_a")
    foreign = Caller(client)
    try:
        with pytest.raises(vecsec_client.Unauthenticated) as caught:
            await foreign.call("search", "x")
        assert caught.value.reason == "INVALID_TOKEN"
    finally:
        await foreign.call("close")
