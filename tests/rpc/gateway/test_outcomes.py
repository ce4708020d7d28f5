"""Every call is counted once as what its caller got, tried or not."""

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from support.gateway_calls import bearer, hang, metrics, search
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refusing
from support.refusals import refusal
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_chassis.domain.errors import AccessDenied, PolicyUnavailable

NONE = gateway_pb2.FALLBACK_NONE
SERIES = re.compile(r'vecsec_call_outcomes_total\{outcome="(\w+)",reason="(\w*)"\}')


def outcomes(gateway: GatewayWithPeers) -> dict[tuple[str, str], int]:
    """What callers got so far, by outcome and reason."""
    found = ((SERIES.fullmatch(series), int(count)) for series, count in metrics(gateway).items())
    return {(match[1], match[2]): count for match, count in found if match and count}


async def test_what_callers_got_is_counted_open_circuits_included(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=600) as gateway:
        series = [match for each in metrics(gateway) if (match := SERIES.fullmatch(each))]
        expected = {("unavailable", "POLICY_UNAVAILABLE"), ("mock", "retrieval_failed"), ("mock", "circuit_open")}
        assert expected <= {(match[1], match[2]) for match in series}  # before the first
        for _ in range(3):
            await search(gateway)
        with_token = gateway_pb2.SearchDocumentsRequest(tenant_id="tenant_a")
        assert (await refusal(gateway.stub.SearchDocuments(with_token))).reason == "INVALID_TOKEN"
        gateway.policy.scripts["PlanAccess"] = refusing(AccessDenied("not yours"))
        assert (await refusal(search(gateway, tenant_id="tenant_b"))).reason == "ACCESS_DENIED"
        del gateway.policy.scripts["PlanAccess"]
        assert outcomes(gateway) == {
            ("answered", ""): 3,
            ("refused", "INVALID_TOKEN"): 1,
            ("refused", "ACCESS_DENIED"): 1,
        }
        await gateway.retrieval_server.stop(0)
        for _ in range(10):
            await search(gateway)
        assert (await refusal(search(gateway, fallback=NONE))).code == grpc.StatusCode.UNAVAILABLE
        lookup = gateway_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["a"])
        assert (await refusal(gateway.stub.GetDocuments(lookup, metadata=bearer(gateway)))).reason
        gateway.policy.scripts["CheckDocuments"] = refusing(PolicyUnavailable("gone"))
        assert (await refusal(search(gateway))).reason == "POLICY_UNAVAILABLE"  # though a mock had been made up
        got = outcomes(gateway)
        assert got["mock", "retrieval_failed"] + got["mock", "circuit_open"] == 10
        assert got["mock", "circuit_open"] > 0
        assert got["unavailable", "RETRIEVAL_UNAVAILABLE"] == 2
        assert got["unavailable", "POLICY_UNAVAILABLE"] == 1
        values = metrics(gateway)
        served = sum(count for each, count in values.items() if each.startswith("vecsec_requests_total"))
        assert sum(got.values()) == served
        mocks = sum(count for each, count in values.items() if each.startswith("vecsec_mock_fallback_total"))
        assert mocks == 10


async def test_a_deadline_that_passes_is_no_cancellation(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path) as gateway:
        gateway.policy.scripts["PlanAccess"] = hang
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await search(gateway, timeout=0.5)
        await until(lambda: outcomes(gateway) == {("failed", "DEADLINE_EXCEEDED"): 1})
        leaving = asyncio.ensure_future(search(gateway))
        await until(lambda: gateway.policy.calls["PlanAccess"] == 2)
        leaving.cancel()
        await until(lambda: outcomes(gateway).get(("cancelled", "CANCELLED")) == 1)
