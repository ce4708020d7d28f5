"""The flag: off means no call of retrieval, and a mock that says why."""

import json
from pathlib import Path

import grpc
from support.gateway_calls import bearer, metrics, search
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refusing
from support.refusals import refusal
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import document_pb2
from vecsec_chassis.domain.errors import AccessDenied, RealRetrievalOff

NONE = gateway_pb2.FALLBACK_NONE


async def test_off_means_no_call_and_a_mock_that_says_why(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, USE_REAL_VECTOR_RETRIEVAL="off") as gateway:
        first, second = await search(gateway), await search(gateway)
        assert first.mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
        assert first.results == second.results
        refused = await refusal(search(gateway, fallback=NONE))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REAL_RETRIEVAL_OFF")
        assert refused.retry_seconds is not None
        request = gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["first"])
        refused = await refusal(gateway.stub.GetDocuments(request, metadata=bearer(gateway)))
        assert refused.reason == "REAL_RETRIEVAL_OFF"
        for call in (
            gateway.stub.ListCollections(
                gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a"), metadata=bearer(gateway)
            ),
            gateway.stub.ListLabels(gateway_pb2.ListLabelsRequest(tenant_id="tenant_a"), metadata=bearer(gateway)),
        ):
            assert (await refusal(call)).reason == "REAL_RETRIEVAL_OFF", "counts are real, too"
        assert not gateway.retrieval.calls
        assert metrics(gateway)['vecsec_mock_fallback_total{reason="flag_off"}'] == 2


async def test_a_deployment_says_what_searches_get_that_do_not_say_it(tmp_path: Path) -> None:
    settings = {"USE_REAL_VECTOR_RETRIEVAL": "off", "VECSEC_DEFAULT_FALLBACK": "none"}
    async with gateway_with_peers(tmp_path, **settings) as gateway:
        assert (await refusal(search(gateway))).reason == "REAL_RETRIEVAL_OFF"
        asked = await search(gateway, fallback=gateway_pb2.FALLBACK_MOCK)
        assert asked.mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF


async def test_it_is_live_and_by_tenant(tmp_path: Path) -> None:
    def write(off: list[str]) -> None:
        flag = {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on",
            "targeting": {"if": [{"in": [{"var": "tenant_id"}, off]}, "off"]},
        }
        (tmp_path / "flags.json").write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))

    write(["tenant_b"])
    async with gateway_with_peers(tmp_path, VECSEC_FLAG_FILE=tmp_path / "flags.json") as gateway:
        assert (await search(gateway)).provenance == document_pb2.PROVENANCE_REAL
        other = await search(gateway, tenant_id="tenant_b")
        assert other.mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
        write(["tenant_a"])

        async def is_seen() -> bool:
            return (await search(gateway)).provenance != document_pb2.PROVENANCE_REAL

        await until(is_seen)


async def test_retrieval_may_see_it_first(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(RealRetrievalOff("off", retry_after=30))
    assert (await search(gateway)).mock_reason == gateway_pb2.MOCK_REASON_FLAG_OFF
    assert (await refusal(search(gateway, fallback=NONE))).reason == "REAL_RETRIEVAL_OFF"
    assert gateway.retrieval.calls["SearchDocuments"] == 2


async def test_a_denial_comes_before_any_mock(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, USE_REAL_VECTOR_RETRIEVAL="off") as gateway:
        gateway.policy.scripts["PlanAccess"] = refusing(AccessDenied("no"))
        assert (await refusal(search(gateway))).reason == "ACCESS_DENIED"
