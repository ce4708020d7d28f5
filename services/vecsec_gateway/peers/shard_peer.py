"""One retrieval service behind the gateway: its channel, its circuit and its health, which all its tenants share."""

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecsec.retrieval.v1 import retrieval_service_pb2_grpc as retrieval_grpc
from vecsec_chassis.background import BackgroundTasks
from vecsec_chassis.placement.placement import Shard
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_gateway.peers.circuit_breaker import CircuitBreaker, CircuitBreakers
from vecsec_gateway.peers.health import RETRIEVAL_ENTRY, PeerHealth, Tell
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.peers.store_watch import StoreWatch
from vecsec_gateway.transport.channels import peer_channel
from vecsec_gateway.transport.lane_channel import LaneChannel

_REACHED_SECONDS = 5.0
"""Connections are tried ten times a second."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How a retrieval service is talked to."""

    max_message_bytes: int
    lane_count: int
    certificates: WatchedCertificates | None
    circuit_threshold: int
    circuit_open_seconds: float
    probe_seconds: float
    own_delay: OwnDelay


@dataclass(frozen=True, slots=True)
class ShardPeer:
    """A retrieval service."""

    shard: Shard
    stub: "retrieval_grpc.RetrievalServiceAsyncStub"
    circuit: CircuitBreaker
    """Opened by what is wrong with the service: it cannot be reached, or hangs."""
    tenant_circuits: CircuitBreakers
    """Opened by what fails for a tenant."""
    health: PeerHealth
    store: StoreWatch

    @property
    def is_well(self) -> bool:
        """Whether it serves, and is what it should be."""
        return self.health.is_serving and not self.store.fault

    @property
    def hangs(self) -> bool:
        """Whether it answers nobody, as far as that can be told of one that may be several."""
        return self.store.is_one_service and self.health.hangs


@asynccontextmanager
async def shard_peer(shard: Shard, settings: PeerSettings, show: Tell, store_id: str = "") -> AsyncIterator[ShardPeer]:
    """A peer, which need not be up; `show` is called after each look at its health, `store_id` names the shard's store
    if that is known."""

    def channel_with(lane_count: int) -> AbstractAsyncContextManager[LaneChannel]:
        return peer_channel(
            shard.address,
            max_message_bytes=settings.max_message_bytes,
            lane_count=lane_count,
            certificates=settings.certificates,
        )

    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(channel_with(settings.lane_count))
        # A connection has so many streams: idle imports that take all of them must not look like a peer's silence.
        watching = await stack.enter_async_context(channel_with(0))
        circuit = CircuitBreaker(
            shard.name or shard.address,
            time.monotonic,
            threshold=settings.circuit_threshold,
            open_seconds=settings.circuit_open_seconds,
            kind="shard",
        )
        tenant_circuits = CircuitBreakers(
            time.monotonic, threshold=settings.circuit_threshold, open_seconds=settings.circuit_open_seconds
        )
        name = f"{RETRIEVAL_ENTRY}.{shard.name}" if shard.name else RETRIEVAL_ENTRY
        health = PeerHealth(name, watching.calls, settings.probe_seconds, settings.own_delay)
        recovering = BackgroundTasks()
        stack.push_async_callback(recovering.close)

        async def recover() -> None:
            # Not before calls reach it as well: theirs is another connection, and what fails over it opens circuits
            # again, of which nobody would hear that they may close.
            with contextlib.suppress(grpc.aio.AioRpcError):
                check = health_pb2_grpc.HealthStub(channel.calls).Check
                await check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=_REACHED_SECONDS)
            if health.is_serving:
                circuit.close()
                tenant_circuits.close_all()

        def hear_recovery() -> None:
            recovering.begin(recover(), "close the circuits of a peer that serves again")

        health.on_recovery(hear_recovery)
        store = StoreWatch(shard, store_id)

        def hear_silence() -> None:
            if store.is_one_service:
                circuit.open()

        health.on_silence(hear_silence)
        by_itself = retrieval_grpc.RetrievalServiceStub(watching.calls)

        async def look() -> None:
            if health.is_serving:
                await store.look(by_itself)
            await show()

        await stack.enter_async_context(health.watched(look))
        stub = retrieval_grpc.RetrievalServiceStub(channel.as_channel())
        yield ShardPeer(shard, stub, circuit, tenant_circuits, health, store)
