"""Without the policy service there are no rows, and no mock either."""

from pathlib import Path

import grpc
import pytest
from support.gateway_calls import hang, ids, metrics, search, unavailable_times
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refusing
from support.refusals import refusal

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec_chassis.domain.errors import AccessDenied, InvalidToken, LimitExceeded, UnknownTenant, VecSecError
from vecsec_chassis.rpc.error_status import error_status

NONE = gateway_pb2.FALLBACK_NONE


@pytest.mark.parametrize("method", ["PlanAccess", "CheckDocuments"])
@pytest.mark.parametrize("fallback", [gateway_pb2.FALLBACK_MOCK, NONE])
async def test_policy_down_means_no_rows_and_no_mock(
    gateway: GatewayWithPeers, method: str, fallback: gateway_pb2.Fallback.ValueType
) -> None:
    gateway.policy.scripts[method] = unavailable_times(99, None)
    refused = await refusal(search(gateway, fallback=fallback))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "POLICY_UNAVAILABLE")
    assert refused.retry_seconds is not None
    assert gateway.policy.calls[method] == 3
    assert not any(value for series, value in metrics(gateway).items() if series.startswith("vecsec_mock_fallback"))


async def test_policy_stopped_altogether(gateway: GatewayWithPeers) -> None:
    await gateway.policy_server.stop(0)
    refused = await refusal(search(gateway))
    assert refused.reason == "POLICY_UNAVAILABLE"
    assert not gateway.retrieval.calls


@pytest.mark.parametrize("method", ["PlanAccess", "CheckDocuments"])
async def test_a_slow_policy_is_the_same_and_is_not_asked_again(tmp_path: Path, method: str) -> None:
    async with gateway_with_peers(tmp_path, VECSEC_POLICY_TIMEOUT_SECONDS=1) as gateway:
        gateway.policy.scripts[method] = hang
        assert (await refusal(search(gateway))).reason == "POLICY_UNAVAILABLE"
        assert gateway.policy.calls[method] == 1


async def test_a_passing_trouble_is_not_seen_by_the_caller(gateway: GatewayWithPeers) -> None:
    plan = policy_pb2.PlanAccessResponse(grant="late grant", policy_version="v1")
    gateway.policy.scripts["PlanAccess"] = unavailable_times(2, plan)
    assert ids(await search(gateway)) == ["first", "second"]
    assert gateway.retrieval.grants == ["late grant"]
    assert metrics(gateway)["vecsec_policy_retries_total"] == 2


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("the policy does not let you read tenant 'tenant_a'"),
        UnknownTenant("tenant_a"),
        InvalidToken("the token does not verify"),
        LimitExceeded("too many calls", retry_after=5),
    ],
    ids=lambda error: error.reason.value,
)
async def test_what_policy_refuses_is_refused_with_the_same_bytes_after_one_call(
    gateway: GatewayWithPeers, error: VecSecError
) -> None:
    gateway.policy.scripts["PlanAccess"] = refusing(error)
    refused = await refusal(search(gateway))
    assert refused.details == error_status(error).SerializeToString()
    assert gateway.policy.calls == {"PlanAccess": 1}
    assert not gateway.retrieval.calls
