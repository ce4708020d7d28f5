"""A retrieval service as the gateway sees it: when its silence counts for all tenants, and what it is asked over."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc
from vecsec_chassis.placement.placement import Shard
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.peers.shard_peer import PeerSettings, ShardPeer, shard_peer

_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


class Service(health_pb2_grpc.HealthServicer, retrieval_service_pb2_grpc.RetrievalServiceServicer):
    """Serves, and is silent when it is told to be."""

    def __init__(self, store_id: str) -> None:
        self.store_id = store_id
        self.silences = 0
        """So many questions are not answered yet."""
        self.calls: Counter[str] = Counter()
        self.watcher = ""
        """The connection over which it is asked for its health."""
        self.may_be_reached = asyncio.Event()
        self.may_be_reached.set()

    async def Check(self, _request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        if self.watcher and context.peer() != self.watcher:  # the connection of the calls
            self.calls["reached"] += 1
            await self.may_be_reached.wait()
            return _SERVING
        self.calls["Check"] += 1
        if self.silences:
            self.silences -= 1
            await asyncio.sleep(600)
        return _SERVING

    async def Watch(self, _request: Any, _context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        await asyncio.sleep(600)
        yield _SERVING

    async def DescribeShard(self, _request: Any, context: Any) -> pb.DescribeShardResponse:
        self.watcher = context.peer()
        self.calls["DescribeShard"] += 1
        return pb.DescribeShardResponse(shard="shard-0", store_id=self.store_id)

    async def ImportDocuments(self, requests: Any, _context: Any) -> AsyncIterator[pb.ImportDocumentsResponse]:
        self.calls["ImportDocuments"] += 1
        async for _ in requests:
            yield pb.ImportDocumentsResponse()


@asynccontextmanager
async def peer_of(service: Service, name: str = "shard-0", most_streams: int = 100) -> AsyncIterator[ShardPeer]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", most_streams)])
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    retrieval_service_pb2_grpc.add_RetrievalServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = PeerSettings(
        max_message_bytes=1024,
        lane_count=0,
        certificates=None,
        circuit_threshold=5,
        circuit_open_seconds=600,
        probe_seconds=0.05,
        own_delay=OwnDelay(),
    )

    async def show() -> None:
        pass

    try:
        async with shard_peer(Shard(name, f"127.0.0.1:{port}"), settings, show) as peer:
            await until(lambda: peer.is_well and service.calls["DescribeShard"] >= 2)
            yield peer
    finally:
        await server.stop(0)


async def asked_again(service: Service) -> None:
    """Wait until it was asked, and answered, after all silence."""
    await until(lambda: not service.silences)
    before = service.calls["Check"]
    await until(lambda: service.calls["Check"] >= before + 2)


async def test_one_missed_answer_costs_nobody_anything() -> None:
    service = Service("a store")
    async with peer_of(service) as peer:
        service.silences = 1
        await until(lambda: peer.health.is_silent)
        assert not peer.circuit.is_open
        assert not peer.hangs
        await asked_again(service)
        await until(lambda: peer.is_well)
        assert not peer.circuit.is_open


async def test_a_second_miss_in_a_row_opens_the_circuit_until_it_answers() -> None:
    service = Service("a store")
    async with peer_of(service) as peer:
        service.silences = 2
        await until(lambda: peer.circuit.is_open)
        assert peer.hangs
        await until(lambda: not peer.circuit.is_open)
        assert not peer.hangs


async def test_the_circuit_closes_when_calls_reach_the_peer_not_when_its_health_does() -> None:
    """Else calls over a connection that is not back yet would open it again, for all its time."""
    service = Service("a store")
    async with peer_of(service) as peer:
        service.may_be_reached.clear()
        service.silences = 2
        await until(lambda: peer.circuit.is_open)
        await until(lambda: service.calls["reached"])
        assert peer.health.is_serving
        assert peer.circuit.is_open
        service.may_be_reached.set()
        await until(lambda: not peer.circuit.is_open)


@pytest.mark.parametrize(("name", "store_id"), [("shard-0", ""), ("", "a store"), ("", "")])
async def test_silence_of_what_may_be_several_services_opens_no_circuit_for_all(name: str, store_id: str) -> None:
    """They share a store, or there is no placement: what a tenant's own calls meet counts, as it always did."""
    service = Service(store_id)
    async with peer_of(service, name) as peer:
        service.silences = 3
        await until(lambda: peer.health.hangs)
        assert peer.health.is_silent, "which makes impatient callers' calls count for their tenant"
        assert not peer.hangs
        assert not peer.circuit.is_open
        await asked_again(service)
        assert not peer.circuit.is_open


async def test_idle_imports_that_take_all_streams_are_no_silence() -> None:
    service = Service("a store")
    async with peer_of(service, most_streams=4) as peer:
        imports = [peer.stub.ImportDocuments() for _ in range(4)]
        await until(lambda: service.calls["ImportDocuments"] == 4)
        waiting = peer.stub.ImportDocuments()
        before = service.calls.copy()
        await until(lambda: service.calls["Check"] >= before["Check"] + 5)
        await until(lambda: service.calls["DescribeShard"] >= before["DescribeShard"] + 4)
        assert service.calls["ImportDocuments"] == 4, "there is no stream for another one"
        assert peer.is_well
        assert not peer.health.is_silent
        for call in (*imports, waiting):
            call.cancel()
