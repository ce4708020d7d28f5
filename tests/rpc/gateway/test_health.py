"""What probes and refused callers are told."""

from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.gateway_calls import search
from support.gateway_peers import GatewayWithPeers, gateway_with_peers
from support.refusals import refusal
from support.waiting import until


async def test_the_gateway_serves_and_tells_of_its_peers(tmp_path: Path) -> None:
    async with gateway_with_peers(tmp_path, VECSEC_PEER_PROBE_SECONDS=0.05) as gateway:
        health = health_pb2_grpc.HealthStub(gateway.channel)

        async def status(name: str) -> str:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

        assert await status("") == "SERVING"
        assert await status("vecsec.gateway.v1.GatewayService") == "SERVING"
        # The stand-ins have no health service, so they do not count as serving.
        for peer in ("policy", "retrieval"):

            async def is_told(name: str = f"vecsec.gateway.{peer}") -> bool:
                return await status(name) == "NOT_SERVING"

            await until(is_told)
        assert await status("") == "SERVING"


async def test_the_retry_advice_is_a_duration_that_clients_understand(gateway: GatewayWithPeers) -> None:
    await gateway.policy_server.stop(0)
    refused = await refusal(search(gateway))
    assert refused.retry_seconds == Duration(seconds=1).seconds
