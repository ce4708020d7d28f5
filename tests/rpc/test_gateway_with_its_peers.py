"""The real three together: what only shows when the gateway, policy and retrieval are all themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import refusal
from support.stack import Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import access_pb2, document_pb2, label_pb2, query_pb2, sensitivity_pb2


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, VECSEC_PEER_PROBE_SECONDS=0.05) as running:
        yield running


async def test_a_search_finds_what_the_caller_may_read(stack: Stack) -> None:
    await stack.load(
        "tenant_a",
        document("open", "how retrieval works", "PUBLIC", ("retrieval",)),
        document("internal", "how retrieval works inside", "INTERNAL", ("retrieval",)),
        document("secret", "how retrieval works in secret", "SECRET", ("retrieval",)),
    )
    token = stack.issuer.token()
    answer = await stack.search(token, "tenant_a", "how does retrieval work?")
    assert sorted(result.document.document_id for result in answer.results) == ["internal", "open"]
    assert answer.provenance == document_pb2.PROVENANCE_REAL
    assert answer.metric == document_pb2.SIMILARITY_METRIC_FUSED_RANKS
    assert answer.mode == query_pb2.SEARCH_MODE_HYBRID
    assert sorted(result.text_rank for result in answer.results) == [1, 2]
    assert all(-1 <= result.vector_score <= 1 and result.text_score > 0 for result in answer.results)
    assert len(answer.policy_version) >= 16


async def test_documents_are_read_listed_and_deleted_by_name(stack: Stack) -> None:
    await stack.load("tenant_a", document("a", "one", "PUBLIC"), document("b", "two", "SECRET"))
    analyst = bearer(stack.issuer.token())
    wanted = gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["b", "a", "c"])
    got = await stack.gateway.GetDocuments(wanted, metadata=analyst)
    assert [each.document_id for each in got.documents] == ["a"]
    listing = gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a")
    listed = await stack.gateway.ListCollections(listing, metadata=analyst)
    assert [(each.collection_id, each.document_count) for each in listed.collections] == [("documents", 1)]
    doomed = gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["a", "b"])
    assert (await refusal(stack.gateway.DeleteDocuments(doomed, metadata=analyst))).reason == "ACCESS_DENIED"
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
    assert (await stack.gateway.DeleteDocuments(doomed, metadata=admin)).deleted_count == 2
    assert (await stack.gateway.DeleteDocuments(doomed, metadata=admin)).deleted_count == 0


async def test_an_import_outlives_its_first_grant(tmp_path: Path) -> None:
    async with running_stack(tmp_path, VECSEC_GRANT_SECONDS=5) as stack:
        admin = stack.issuer.token("tenant_a", "admin", "SECRET")

        async def slowly() -> AsyncIterator[gateway_pb2.ImportDocumentsRequest]:
            for number in range(3):  # the last comes after 7 seconds, when the first grant is refused
                await asyncio.sleep(3.6 * bool(number))
                yield gateway_pb2.ImportDocumentsRequest(
                    tenant_id="tenant_a", documents=[document(f"d{number}", f"text {number}", "PUBLIC")]
                )

        call = stack.gateway.ImportDocuments(slowly(), metadata=bearer(admin))
        assert [response.total_stored_count async for response in call] == [1, 2, 3]


async def test_a_bad_document_ends_the_import_after_what_is_durable(stack: Stack) -> None:
    admin = stack.issuer.token("tenant_a", "admin", "SECRET")
    batches = [
        gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document("good", "text", "PUBLIC")]),
        gateway_pb2.ImportDocumentsRequest(
            tenant_id="tenant_a", documents=[document("twice", "text", "PUBLIC"), document("twice", "text", "PUBLIC")]
        ),
    ]
    acknowledged: list[int] = []

    async def load() -> None:
        async for response in stack.gateway.ImportDocuments(iter(batches), metadata=bearer(admin)):
            acknowledged.append(response.batch_number)  # noqa: PERF401 (what came before the error counts)

    refused = await refusal(load())
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", ("documents[1].document_id",))
    assert acknowledged == [1]
    assert await stack.ids(admin, "tenant_a", "text") == ["good"]


async def test_the_flag_is_live_for_one_tenant_in_gateway_and_retrieval(stack: Stack) -> None:
    await stack.load("tenant_a", document("a", "text", "PUBLIC"))
    await stack.load("tenant_b", document("b", "text", "PUBLIC", ("finance",)))
    flag = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "on",
        "targeting": {"if": [{"==": [{"var": "tenant_id"}, "tenant_a"]}, "off"]},
    }
    stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))
    token, other = stack.issuer.token(), stack.issuer.token("tenant_b")
    mock = gateway_pb2.FALLBACK_MOCK

    async def provenance() -> document_pb2.Provenance.ValueType:
        return (await stack.search(token, "tenant_a", fallback=mock)).provenance

    async def is_mock() -> bool:
        return await provenance() == document_pb2.PROVENANCE_MOCK

    async def is_real() -> bool:
        return await provenance() == document_pb2.PROVENANCE_REAL

    await until(is_mock)
    answer = await stack.search(token, "tenant_a", fallback=mock)
    assert answer.mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
    assert answer.results, "the policy allows mock rows to those who may read public ones"
    assert await stack.ids(other, "tenant_b") == ["b"]
    flag["defaultVariant"], flag["targeting"] = "on", {}
    stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))
    await until(is_real)


async def test_explanations_and_counts_come_from_policy(stack: Stack) -> None:
    label = label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_SECRET, topics=["rag"])
    request = gateway_pb2.ExplainAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ, label=label)
    told = await stack.gateway.ExplainAccess(request, metadata=bearer(stack.issuer.token()))
    assert told.explanation.decision == access_pb2.DECISION_WITHHOLD
    assert not told.explanation.determining_rules
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
    told = await stack.gateway.ExplainAccess(request, metadata=admin)
    assert told.explanation.decision == access_pb2.DECISION_ALLOW
    counts = await stack.gateway.CountViolations(
        gateway_pb2.CountViolationsRequest(tenant_id="tenant_a"), metadata=admin
    )
    assert len(counts.counts.violations) == 6
    refused = await refusal(
        stack.gateway.CountViolations(
            gateway_pb2.CountViolationsRequest(tenant_id="tenant_a"), metadata=bearer(stack.issuer.token())
        )
    )
    assert refused.reason == "ACCESS_DENIED"


async def test_health_tells_of_the_peers(stack: Stack) -> None:
    async with grpc.aio.insecure_channel(f"localhost:{stack.gateway_service.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def serves(name: str) -> bool:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        for name in ("vecsec.gateway.policy", "vecsec.gateway.retrieval"):
            await until(lambda name=name: serves(name))


@pytest.mark.parametrize("role", ["guest", "analyst", "superuser"])
async def test_a_foreign_and_an_absent_tenant_are_refused_with_the_same_bytes(stack: Stack, role: str) -> None:
    token = stack.issuer.token("tenant_a", role, "PUBLIC")
    foreign, absent = [await refusal(stack.search(token, tenant)) for tenant in ("tenant_b", "tenant_z")]
    assert foreign.reason == "ACCESS_DENIED"
    assert foreign.details == absent.details.replace(b"tenant_z", b"tenant_b")


async def test_bad_requests_name_the_field_and_reach_no_peer(stack: Stack) -> None:
    token = stack.issuer.token()
    for fields, name in [
        ({"k": 0}, "k"),
        ({"k": 1001}, "k"),
        ({"query": query_pb2.Query(text="  ")}, "query.text"),
        ({"tenant_id": "Tenant_A"}, "tenant_id"),
        ({"collection_id": "../etc"}, "collection_id"),
    ]:
        request = gateway_pb2.SearchDocumentsRequest(
            **{"tenant_id": "tenant_a", "query": query_pb2.Query(text="x"), "k": 1, **fields}
        )
        refused = await refusal(stack.gateway.SearchDocuments(request, metadata=bearer(token)))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (name,))
    assert not [series for series in stack.metrics(stack.policy_service) if "PlanAccess" in series]


async def test_labels_are_listed_page_by_page_with_their_numbers(stack: Stack) -> None:
    await stack.load("tenant_a", *(document(f"m{number}", "text", "PUBLIC") for number in range(3)))
    await stack.load("tenant_a", document("r1", "text", "PUBLIC", ("rag",)), document("s", "text", "SECRET"))
    await stack.load("tenant_a", document("n", "text", "INTERNAL"), collection_id="notes")
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
    found: dict[tuple[str, int, tuple[str, ...]], int] = {}
    page_token, pages = "", 0
    while page_token or not pages:
        request = gateway_pb2.ListLabelsRequest(tenant_id="tenant_a", page_size=1, page_token=page_token)
        page = await stack.gateway.ListLabels(request, metadata=admin)
        assert len(page.labels) <= 1
        for each in page.labels:
            assert each.label.tenant_id == "tenant_a"
            found[each.collection_id, each.label.sensitivity, tuple(each.label.topics)] = each.document_count
        page_token, pages = page.next_page_token, pages + 1
    assert found == {
        ("documents", sensitivity_pb2.SENSITIVITY_PUBLIC, ("marketing",)): 3,
        ("documents", sensitivity_pb2.SENSITIVITY_PUBLIC, ("rag",)): 1,
        ("documents", sensitivity_pb2.SENSITIVITY_SECRET, ("marketing",)): 1,
        ("notes", sensitivity_pb2.SENSITIVITY_INTERNAL, ("marketing",)): 1,
    }
    doomed = gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["r1", "s"])
    await stack.gateway.DeleteDocuments(doomed, metadata=admin)
    whole = await stack.gateway.ListLabels(gateway_pb2.ListLabelsRequest(tenant_id="tenant_a"), metadata=admin)
    assert sorted(each.document_count for each in whole.labels) == [1, 3]
    assert not whole.next_page_token
    odd = gateway_pb2.ListLabelsRequest(tenant_id="tenant_a", page_token="no token")
    refused = await refusal(stack.gateway.ListLabels(odd, metadata=admin))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
