"""A shard that dies, hangs or starts again: found out once, felt by its own tenants alone, and real again at once."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import refusal
from support.shard_process import ShardProcess
from support.sharded_stack import TENANTS, ShardedStack, sharded_stack
from support.stack import document
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import query_pb2

"""From when a shard serves to the first search that is answered for real."""


@asynccontextmanager
async def with_process(folder: Path, **environment: object) -> AsyncIterator[tuple[ShardedStack, ShardProcess]]:
    """Two shards that know each other, the second as a process; every tenant has a row."""
    async with sharded_stack(folder, start=False, **environment) as sharded:
        process = ShardProcess(sharded, "shard-1")
        process.start()
        try:
            await sharded.settled(1)
            for tenant_id in TENANTS:
                await sharded.stack.load(tenant_id, document(f"of_{tenant_id}", "a passage"))
            yield sharded, process
        finally:
            process.end()


async def search(sharded: ShardedStack, tenant_id: str, seconds: float = 30) -> gateway_pb2.SearchDocumentsResponse:
    """A search of somebody who takes made-up rows."""
    request = gateway_pb2.SearchDocumentsRequest(tenant_id=tenant_id, query=query_pb2.Query(text="a"), k=1)
    metadata = (("authorization", f"Bearer {sharded.admin(tenant_id)}"),)
    return await sharded.stack.gateway.SearchDocuments(request, metadata=metadata, timeout=seconds)


def series(sharded: ShardedStack, name: str, shard: str) -> float:
    return sharded.stack.metrics(sharded.stack.gateway_service).get(f'{name}{{shard="{shard}"}}', -1)


async def serves(address: str) -> None:
    """Wait for the moment in which a shard says that it serves, by a connection of our own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.aio.AioRpcError:
                continue


def of(sharded: ShardedStack, shard: str) -> list[str]:
    return [tenant_id for tenant_id in TENANTS if sharded.owner(tenant_id) == shard]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_the_first_search_after_a_restart_is_real(tmp_path: Path, how: signal.Signals) -> None:
    """Circuits that were opened meanwhile do not wait out their time, for any of the shard's tenants."""
    async with with_process(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=600) as (sharded, process):
        mine = of(sharded, "shard-1")
        await asyncio.to_thread(process.end, how)
        for _ in range(3):
            for tenant_id in mine:
                assert (await search(sharded, tenant_id)).mock_reason != gateway_pb2.MOCK_REASON_UNSPECIFIED
        assert series(sharded, "vecsec_shard_circuit_open", "shard-1") == 1
        process.start()
        await asyncio.wait_for(serves(sharded.address("shard-1")), 60)

        async def is_real() -> bool:
            return not (await search(sharded, mine[0])).mock_reason

        await until(is_real)  # the circuits by themselves would take ten minutes
        for tenant_id in mine:
            answer = await search(sharded, tenant_id)
            assert [each.document.document_id for each in answer.results] == [f"of_{tenant_id}"]
        assert series(sharded, "vecsec_shard_circuit_open", "shard-1") == 0


async def test_a_shard_that_died_is_found_out_once_for_all_its_tenants(tmp_path: Path) -> None:
    async with with_process(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=600) as (sharded, process):
        process.end()
        mine = of(sharded, "shard-1")

        async def is_open() -> bool:
            await search(sharded, mine[0])
            return series(sharded, "vecsec_shard_circuit_open", "shard-1") == 1

        await until(is_open)
        for tenant_id in mine:
            answer = await search(sharded, tenant_id)
            assert answer.mock_reason == gateway_pb2.MOCK_REASON_CIRCUIT_OPEN, "not even tried"
        for tenant_id in of(sharded, "shard-0"):
            assert not (await search(sharded, tenant_id)).mock_reason
        assert series(sharded, "vecsec_shard_circuit_open", "shard-0") == 0


async def test_a_shard_that_hangs_is_found_out_by_its_silence(tmp_path: Path) -> None:
    """Nobody has to wait five times for that; and when it goes on, so does everybody."""
    async with with_process(tmp_path, VECSEC_CIRCUIT_OPEN_SECONDS=600, VECSEC_PEER_PROBE_SECONDS=0.2) as (
        sharded,
        process,
    ):
        process.send(signal.SIGSTOP)
        await until(lambda: series(sharded, "vecsec_shard_circuit_open", "shard-1") == 1)
        for tenant_id in of(sharded, "shard-1"):
            answer = await search(sharded, tenant_id)
            assert answer.mock_reason == gateway_pb2.MOCK_REASON_CIRCUIT_OPEN, "not even tried"
        for tenant_id in of(sharded, "shard-0"):
            assert not (await search(sharded, tenant_id)).mock_reason
        process.send(signal.SIGCONT)

        async def is_real() -> bool:
            return not (await search(sharded, of(sharded, "shard-1")[0])).mock_reason

        await until(is_real)


async def test_a_shard_that_moves_to_another_store_is_not_believed(tmp_path: Path) -> None:
    """Its new address is that of an empty store: no answer is an empty one, from the first on."""
    async with sharded_stack(tmp_path, ["shard-0"]) as sharded:
        await sharded.stack.load("tenant_c", document("row", "a passage"))
        assert await sharded.stack.ids(sharded.admin("tenant_c"), "tenant_c") == ["row"]
        sharded.ports = {**sharded.ports, "shard-0": sharded.ports["shard-1"]}
        await sharded.start("shard-0", CHROMA_PATH=tmp_path / "another")
        sharded.place(2, ["shard-0"])

        async def is_refused() -> bool:
            try:
                assert await sharded.stack.ids(sharded.admin("tenant_c"), "tenant_c") == ["row"], "a miss"
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                return True
            return False

        await until(is_refused)
        for _ in range(20):
            refused = await refusal(sharded.stack.search(sharded.admin("tenant_c"), "tenant_c"))
            assert refused.code is grpc.StatusCode.UNAVAILABLE


async def test_two_stores_behind_one_name_are_not_believed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A service with a store of its own was scaled: the second never answers, and one line says what to do."""
    async with sharded_stack(tmp_path, ["shard-0"], VECSEC_PEER_PROBE_SECONDS=0.1) as sharded:
        for number in range(20):
            await sharded.stack.load("tenant_c", document(f"row_{number}", "a passage"))
        sharded.ports = {**sharded.ports, "shard-0": sharded.ports["shard-1"]}
        await sharded.start("shard-0", CHROMA_PATH=tmp_path / "another")
        both = "ipv4:127.0.0.1:{},127.0.0.1:{}".format(sharded.stack.retrieval_service.port, sharded.ports["shard-1"])
        sharded.address = lambda _name: both  # type: ignore[method-assign]
        sharded.place(2, ["shard-0"])
        await until(lambda: series(sharded, "vecsec_shard_serving", "shard-0") == 0)
        for _ in range(20):
            try:
                answer = await sharded.stack.search(sharded.admin("tenant_c"), "tenant_c", k=1)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
            else:
                assert answer.results, "a miss"
        refused = await refusal(sharded.stack.search(sharded.admin("tenant_c"), "tenant_c"))
        assert refused.message == (
            "two vector stores answer in turns, so that neither can be believed; tell whoever runs VecSec"
        )
        told = [line for line in capfd.readouterr().out.splitlines() if "retrieval is not what it should be" in line]
        assert len(told) == 1
        assert "scale retrieval to one, or make each a shard of a placement" in told[0]
