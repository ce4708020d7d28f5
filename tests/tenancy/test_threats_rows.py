"""Which rows come back: THREATS 1 (starvation), 3 (untagged rows), 8 (same id in two tenants), 12 (by which way),
14 (embeddings)."""

import sqlite3
from contextlib import closing
from pathlib import Path

import chromadb
import grpc
import pytest
from chromadb.config import Settings
from support.audit_log import read_decisions
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import query_pb2
from vecsec_retrieval.stores.embedded.checked_rows import SUM_KEY
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE


async def test_threat_01_forbidden_rows_never_crowd_out_permitted_ones(stack: Stack) -> None:
    """Two hundred forbidden rows match the query word for word; the ten that may be read do not."""
    forbidden = [document(f"secret-{number}", "quarterly revenue forecast", "SECRET") for number in range(200)]
    permitted = [document(f"open-{number}", f"gardening notes {number}") for number in range(10)]
    await stack.load("tenant_a", *forbidden, *permitted)
    found = await stack.ids(stack.issuer.token(), "tenant_a", "quarterly revenue forecast", k=10)
    assert sorted(found) == sorted(f"open-{number}" for number in range(10))


async def test_threat_01_holds_for_every_k(stack: Stack) -> None:
    rows = [document(f"d{number}", f"note {number}", ("SECRET", "INTERNAL")[number % 2]) for number in range(100)]
    await stack.load("tenant_a", *rows)
    for k in (1, 7, 50, 1000):
        assert len(await stack.ids(stack.issuer.token(), "tenant_a", "note", k=k)) == min(k, 50)


async def test_threat_12_how_a_search_was_run_is_told_to_those_alone_who_may_configure(stack: Stack) -> None:
    """A widened search tells that hidden rows were in the way."""
    await stack.load("tenant_a", document("open", "note"), document("secret", "note", "SECRET"))
    request = gateway_service_pb2.SearchDocumentsRequest(tenant_id="tenant_a", query=query_pb2.Query(text="note"), k=1)
    for role, clearance, strategy in (
        ("guest", "PUBLIC", ""),
        ("analyst", "INTERNAL", ""),
        ("superuser", "CONFIDENTIAL", "exact_scan"),
        ("admin", "SECRET", "exact_scan"),
    ):
        token = stack.issuer.token("tenant_a", role, clearance)
        answer = await stack.gateway.SearchDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        assert answer.strategy == strategy


async def test_threat_03_untagged_and_half_tagged_rows_are_readable_by_nobody(tmp_path: Path) -> None:
    """Rows planted behind our back, each lacking one reserved tag, or all, or tagged with another tenant."""
    async with running_stack(tmp_path) as stack:
        await stack.load("tenant_a", document("tagged", "the only tagged row"))
    planted = _plant_damaged_rows(tmp_path / "chroma" / "tenant_a")
    async with running_stack(tmp_path) as stack:
        for role, clearance in (
            ("guest", "PUBLIC"),
            ("analyst", "INTERNAL"),
            ("superuser", "CONFIDENTIAL"),
            ("admin", "SECRET"),
        ):
            token = stack.issuer.token("tenant_a", role, clearance)
            found = await stack.ids(token, "tenant_a", "the only tagged row", k=100)
            assert set(found) <= {"tagged"}
            request = gateway_service_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=planted)
            answer = await stack.gateway.GetDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
            assert not answer.documents
        assert await stack.ids(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a") == ["tagged"]


def _plant_damaged_rows(cell: Path) -> list[str]:
    """Copy the tagged row, each time without one of its reserved tags; returns the copies' ids."""
    with closing(sqlite3.connect(cell / DATABASE_FILE, isolation_level=None)) as database:
        database.execute("DELETE FROM max_seq_id")  # ChromaDB derives its tables from the log again
    client = chromadb.PersistentClient(str(cell), settings=Settings(anonymized_telemetry=False))
    collection = client.get_collection("documents", embedding_function=None)
    row = collection.get(ids=["tagged"], include=["embeddings", "metadatas", "documents"])
    assert row["metadatas"] is not None
    tags = dict(row["metadatas"][0])
    del tags[SUM_KEY]  # of a copy it is wrong, which is damage: then nobody reads anything
    reserved = [key for key in tags if key.startswith("vs_")]
    assert len(reserved) >= 3
    damaged = {f"without-{key}": {name: value for name, value in tags.items() if name != key} for key in reserved}
    damaged["without-any"] = {"unrelated": 1}
    tenant_keys = [key for key in reserved if tags[key] == "tenant_a"]
    assert tenant_keys
    for key in tenant_keys:
        damaged[f"foreign-{key}"] = tags | {key: "tenant_b"}
    for document_id, metadata in damaged.items():
        collection.add(
            ids=[document_id], embeddings=row["embeddings"], metadatas=[metadata], documents=["the only tagged row"]
        )
    client.close()
    return list(damaged)


async def test_threat_08_the_same_id_in_two_tenants_is_two_documents(stack: Stack) -> None:
    await stack.load("tenant_a", document("shared-id", "what tenant a wrote"))
    await stack.load("tenant_b", document("shared-id", "what tenant b wrote"))
    for tenant_id, text in (("tenant_a", "what tenant a wrote"), ("tenant_b", "what tenant b wrote")):
        answer = await stack.search(stack.issuer.token(tenant_id), tenant_id)
        assert [result.document.text for result in answer.results] == [text]
    request = gateway_service_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["shared-id"])
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
    assert (await stack.gateway.DeleteDocuments(request, metadata=admin, timeout=SEARCH_SECONDS)).deleted_count == 1
    assert await stack.ids(stack.issuer.token("tenant_a"), "tenant_a") == []
    assert await stack.ids(stack.issuer.token("tenant_b"), "tenant_b") == ["shared-id"]


@pytest.mark.parametrize(("role", "clearance"), [("guest", "PUBLIC"), ("analyst", "INTERNAL")])
async def test_threat_14_embeddings_stay_inside_for_those_who_may_not_configure(
    stack: Stack, role: str, clearance: str
) -> None:
    await stack.load("tenant_a", document("a", "an open note", "PUBLIC"))
    token = stack.issuer.token("tenant_a", role, clearance)
    refused = await refusal(stack.search(token, "tenant_a", include_embeddings=True))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
    request = gateway_service_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["a"], include_embeddings=True)
    refused = await refusal(stack.gateway.GetDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    answer = await stack.search(token, "tenant_a")
    assert [len(result.document.embedding) for result in answer.results] == [0]


async def test_threat_14_embeddings_are_given_to_those_who_may_configure(stack: Stack) -> None:
    await stack.load("tenant_a", document("a", "an open note"))
    answer = await stack.search(
        stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL"), "tenant_a", include_embeddings=True
    )
    assert [len(result.document.embedding) for result in answer.results] == [256]


async def test_threat_12_labels_are_listed_for_configurers_alone_and_only_those_of_rows_within_their_reach(
    stack: Stack,
) -> None:
    """Who may not configure learns nothing, not even that the tenant exists; who may, nothing above its own level."""
    await stack.load("tenant_a", document("open", "text"), document("secret", "text", "SECRET"))

    async def levels(token: str, tenant_id: str) -> list[int]:
        request = gateway_service_pb2.ListLabelsRequest(tenant_id=tenant_id)
        answer = await stack.gateway.ListLabels(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        return sorted(each.label.sensitivity for each in answer.labels)

    assert await levels(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a") == [2, 4]
    assert await levels(stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL"), "tenant_a") == [2]
    for role, clearance, home in (
        ("analyst", "INTERNAL", "tenant_a"),
        ("superuser", "CONFIDENTIAL", "tenant_b"),
        ("admin", "SECRET", "tenant_b"),
    ):
        token = stack.issuer.token(home, role, clearance)
        present, absent = [await refusal(levels(token, tenant_id)) for tenant_id in ("tenant_a", "nowhere_a")]
        assert present.code is grpc.StatusCode.PERMISSION_DENIED
        assert present.message.replace("tenant_a", "nowhere_a") == absent.message
    grant = await stack.grant(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a")
    reading = retrieval_service_pb2.ListLabelsRequest(grant=grant)
    assert (await refusal(stack.retrieval.ListLabels(reading, timeout=SEARCH_SECONDS))).reason == "INVALID_GRANT"


async def test_threat_12_a_tenant_is_read_anew_for_configurers_alone_and_on_record(stack: Stack) -> None:
    await stack.load("tenant_a", document("a", "text"))

    async def reread(token: str, tenant_id: str) -> None:
        request = gateway_service_pb2.RereadTenantRequest(tenant_id=tenant_id)
        await stack.gateway.RereadTenant(request, metadata=bearer(token), timeout=SEARCH_SECONDS)

    for role, clearance, home in (("analyst", "INTERNAL", "tenant_a"), ("superuser", "CONFIDENTIAL", "tenant_b")):
        token = stack.issuer.token(home, role, clearance)
        present, absent = [await refusal(reread(token, tenant_id)) for tenant_id in ("tenant_a", "nowhere_a")]
        assert present.code is grpc.StatusCode.PERMISSION_DENIED
        assert present.message.replace("tenant_a", "nowhere_a") == absent.message
    reading = await stack.grant(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a")
    for grant in (reading, ""):
        direct = retrieval_service_pb2.RereadTenantRequest(grant=grant)
        refused = await refusal(stack.retrieval.RereadTenant(direct, timeout=SEARCH_SECONDS))
        assert refused.reason == "INVALID_GRANT"
    await reread(stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL", "keeper"), "tenant_a")
    answer = await stack.search(stack.issuer.token(), "tenant_a")
    assert [each.document.document_id for each in answer.results] == ["a"]

    def on_record() -> list[tuple[str, str]]:
        decisions = read_decisions(stack.audit_file)
        return [(each.action.value, each.tenant_id) for each in decisions if each.subject == "keeper"]

    await until(on_record)
    assert on_record() == [("configure", "tenant_a")]


async def test_threat_12_ids_are_listed_of_readable_documents_alone_and_hidden_collections_look_absent(
    stack: Stack,
) -> None:
    await stack.load(
        "tenant_a", document("open", "a", "PUBLIC"), document("inner", "b"), document("secret", "c", "SECRET")
    )
    await stack.load("tenant_a", document("hidden", "d", "SECRET"), collection_id="hidden")

    async def ids(token: str, tenant_id: str, collection_id: str = "") -> list[str]:
        found, page_token = list[str](), ""
        while True:
            request = gateway_service_pb2.ListDocumentIdsRequest(
                tenant_id=tenant_id, collection_id=collection_id, page_size=1, page_token=page_token
            )
            page = await stack.gateway.ListDocumentIds(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
            found += page.document_ids
            page_token = page.next_page_token
            if not page_token:
                return found

    admin = stack.issuer.token("tenant_a", "admin", "SECRET")
    analyst = stack.issuer.token("tenant_a", "analyst", "INTERNAL")
    assert await ids(admin, "tenant_a") == ["inner", "open", "secret"]
    assert await ids(admin, "tenant_a", "hidden") == ["hidden"]
    assert await ids(analyst, "tenant_a") == ["inner", "open"]
    assert await ids(stack.issuer.token("tenant_a", "guest", "PUBLIC"), "tenant_a") == ["open"]
    hidden, absent = [await refusal(ids(analyst, "tenant_a", name)) for name in ("hidden", "absent")]
    assert hidden.code is grpc.StatusCode.NOT_FOUND
    assert hidden.message.replace("hidden", "absent") == absent.message
    foreign = await refusal(ids(stack.issuer.token("tenant_b", "analyst", "INTERNAL"), "tenant_a"))
    assert foreign.code is grpc.StatusCode.PERMISSION_DENIED
