"""What a search through the gateway takes along, and what comes back."""

import asyncio
from pathlib import Path

import grpc
from support.gateway_calls import bearer, hang, ids, search
from support.gateway_peers import GatewayWithPeers, gateway_with_peers
from support.refusals import refusal
from support.waiting import PATIENCE_SECONDS

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import access_pb2, document_pb2, label_pb2, query_pb2, sensitivity_pb2


async def test_a_search_plans_retrieves_and_checks(gateway: GatewayWithPeers) -> None:
    answer = await search(gateway, extra=(("x-request-id", "my-request"),))
    assert ids(answer) == ["first", "second"]
    assert answer.provenance == document_pb2.PROVENANCE_REAL
    assert {result.provenance for result in answer.results} == {document_pb2.PROVENANCE_REAL}
    assert answer.mock_reason == gateway_pb2.MOCK_REASON_UNSPECIFIED
    assert (answer.policy_version, answer.request_id) == ("v1", "my-request")
    assert gateway.policy.calls == {"PlanAccess": 1, "CheckDocuments": 1}
    assert gateway.retrieval.grants == ["grant 1"]


async def test_the_token_goes_to_policy_only_and_the_request_id_to_both(gateway: GatewayWithPeers) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    trace_parent = f"00-{trace_id}-00f067aa0ba902b7-01"
    await search(gateway, extra=(("x-request-id", "my-request"), ("traceparent", trace_parent)))
    assert all(each["authorization"].startswith("Bearer ey") for each in gateway.policy.metadata)
    assert "authorization" not in gateway.retrieval.metadata[0]
    for each in (*gateway.policy.metadata, *gateway.retrieval.metadata):
        assert each["x-request-id"] == "my-request"
        assert each["traceparent"].split("-")[1] == trace_id


async def test_spoofed_metadata_changes_nothing(gateway: GatewayWithPeers) -> None:
    spoofed = (("x-tenant-id", "tenant_b"), ("x-role", "admin"), ("x-clearance", "SECRET"), ("grant", "mine"))
    assert ids(await search(gateway, extra=spoofed)) == ["first", "second"]
    for each in (*gateway.policy.metadata, *gateway.retrieval.metadata):
        assert not {"x-tenant-id", "x-role", "x-clearance", "grant"} & set(each)


async def test_the_deadline_goes_along_with_something_kept_for_the_check(gateway: GatewayWithPeers) -> None:
    await search(gateway, timeout=20)
    (retrieval_seconds,) = gateway.retrieval.seconds_left
    assert retrieval_seconds is not None
    # gRPC rounds deadlines of ten seconds and more up to the next tenth, at each of two hops.
    assert retrieval_seconds <= 19.2
    assert all(seconds is not None and seconds <= 20.2 for seconds in gateway.policy.seconds_left)


async def test_without_a_deadline_there_is_a_default_one(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, VECSEC_DEFAULT_DEADLINE_SECONDS=0.5) as gateway:
        gateway.policy.scripts["PlanAccess"] = hang
        async with asyncio.timeout(PATIENCE_SECONDS):
            refused = await refusal(search(gateway, timeout=None))
        assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_other_calls_pass_through(gateway: GatewayWithPeers) -> None:
    metadata = bearer(gateway)
    got = await gateway.stub.GetDocuments(
        gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["second", "absent", "first"]),
        metadata=metadata,
    )
    assert [document.document_id for document in got.documents] == ["first", "second"]
    deleted = await gateway.stub.DeleteDocuments(
        gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["first"]), metadata=metadata
    )
    assert deleted.deleted_count == 1
    listed = await gateway.stub.ListCollections(
        gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a"), metadata=metadata
    )
    assert [collection.collection_id for collection in listed.collections] == ["documents"]
    label = label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"])
    explained = await gateway.stub.ExplainAccess(
        gateway_pb2.ExplainAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ, label=label),
        metadata=metadata,
    )
    assert explained.explanation.incident_id == "incident 1"
    counted = await gateway.stub.CountViolations(
        gateway_pb2.CountViolationsRequest(tenant_id="tenant_a"), metadata=metadata
    )
    assert counted.counts.denied_count == 7


async def test_no_token_no_call(gateway: GatewayWithPeers) -> None:
    request = gateway_pb2.SearchDocumentsRequest(tenant_id="tenant_a", query=query_pb2.Query(text="x"), k=1)
    refused = await refusal(gateway.stub.SearchDocuments(request, metadata=(("x-tenant-id", "tenant_a"),)))
    assert refused.reason == "INVALID_TOKEN"
    assert not gateway.policy.calls
    assert not gateway.retrieval.calls
