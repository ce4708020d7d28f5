"""The gateway's channels to its peers."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support.installation import free_ports

from vecsec_gateway.transport.channels import peer_channel
from vecsec_gateway.transport.lane_channel import LaneChannel


@asynccontextmanager
async def serving(port: int) -> AsyncIterator[None]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


def channel_to(port: int) -> AbstractAsyncContextManager[LaneChannel]:
    return peer_channel(f"127.0.0.1:{port}", max_message_bytes=1024, lane_count=0, certificates=None)


async def ask(channel: LaneChannel) -> None:
    await health_pb2_grpc.HealthStub(channel.calls).Check(health_pb2.HealthCheckRequest(), timeout=20)


async def test_a_channel_does_not_wait_out_the_pause_of_another_one_to_the_same_address() -> None:
    """Else calls would fail for as long as some other channel, perhaps a closed one, leaves the address alone."""
    [port] = free_ports(1)
    async with channel_to(port) as early:
        with pytest.raises(grpc.aio.AioRpcError, match="refused"):
            await ask(early)
        async with serving(port), channel_to(port) as late:
            await ask(late)
