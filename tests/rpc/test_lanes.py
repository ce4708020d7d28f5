"""Lanes: calls carried over a stream end as calls of their own do, and the end of a lane loses nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import pytest
from grpc_status import rpc_status
from support.cancelling_channel import CancellingChannel
from support.installation import free_ports
from support.waiting import PATIENCE_SECONDS, until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.gateway.v1 import gateway_service_pb2_grpc as gateway_grpc
from vecsec.lane.v1 import lane_service_pb2 as lane_pb2
from vecsec.lane.v1 import lane_service_pb2_grpc as lane_grpc
from vecsec_chassis.domain.errors import AccessDenied
from vecsec_chassis.rpc import lane_server
from vecsec_chassis.rpc.error_status import error_from_rpc, error_status
from vecsec_chassis.rpc.lane_server import LaneMethods, LaneServicer
from vecsec_gateway.transport import lane_channel
from vecsec_gateway.transport.lane_channel import LaneChannel

METHOD = "/vecsec.gateway.v1.GatewayService/ListCollections"


@dataclass
class Server(gateway_grpc.GatewayServiceServicer):
    """Answers ListCollections with what its script says; any unary method would do."""

    script: Callable[[str, Any], Awaitable[None]] | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    served: int = 0
    most_at_once: int = 0
    running: int = 0

    async def ListCollections(self, request: gateway_pb2.ListCollectionsRequest, context: Any) -> Any:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.started.set()
        try:
            if self.script is not None:
                await self.script(request.tenant_id, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        self.served += 1
        answer = gateway_pb2.ListCollectionsResponse()
        answer.collections.add(collection_id=request.tenant_id)
        return answer


@dataclass
class Carrier:
    """A client of a server that carries calls."""

    server: Server
    grpc_server: grpc.aio.Server
    lanes: LaneServicer
    port: int
    channel: grpc.aio.Channel
    lane_channel: LaneChannel

    async def call(self, tenant_id: str = "a", **options: Any) -> str:
        stub = gateway_grpc.GatewayServiceStub(self.lane_channel.as_channel())
        answer = await stub.ListCollections(gateway_pb2.ListCollectionsRequest(tenant_id=tenant_id), **options)
        return answer.collections[0].collection_id

    async def until_lanes(self, count: int) -> None:
        await until(lambda: len(self.lanes._lanes) == count)


@asynccontextmanager
async def carrying(
    server: Server, lane_count: int = 1, port: int = 0, life_seconds: float = 60
) -> AsyncIterator[Carrier]:
    grpc_server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = LaneMethods(())
    gateway_grpc.add_GatewayServiceServicer_to_server(server, grpc_server)
    gateway_grpc.add_GatewayServiceServicer_to_server(server, cast("grpc.aio.Server", methods))
    lanes = LaneServicer(methods, life_seconds=life_seconds)
    lane_grpc.add_LaneServiceServicer_to_server(lanes, grpc_server)
    port = grpc_server.add_insecure_port(f"127.0.0.1:{port}")
    await grpc_server.start()
    try:
        async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
            lanes_there = LaneChannel(channel, lambda: channel)
            async with lanes_there.keeping_lanes(lane_count):
                carrier = Carrier(server, grpc_server, lanes, port, channel, lanes_there)
                await carrier.until_lanes(lane_count)
                # The server counts a lane before its client does.
                await until(lambda: len(lanes_there._lanes) >= lane_count)
                yield carrier
    finally:
        await grpc_server.stop(0)


async def test_many_calls_at_once_get_their_own_answers() -> None:
    server, everybody_is_there = Server(), asyncio.Event()

    async def later_ones_first(tenant_id: str, _context: Any) -> None:
        if server.running == 100:
            everybody_is_there.set()
        await everybody_is_there.wait()
        if not int(tenant_id[1:]) % 2:
            await until(lambda: server.served >= 50)

    server.script = later_ones_first
    async with carrying(server) as carrier:
        wanted = [f"t{number}" for number in range(100)]
        assert await asyncio.gather(*(carrier.call(tenant_id) for tenant_id in wanted)) == wanted
        assert server.most_at_once == 100


async def test_metadata_and_deadline_arrive() -> None:
    seen: dict[str, Any] = {}

    async def note(_tenant_id: str, context: Any) -> None:
        seen.update(metadata=dict(context.invocation_metadata()), seconds=context.time_remaining())

    async with carrying(Server(note)) as carrier:
        await carrier.call(timeout=700, metadata=(("authorization", "Bearer x"),))
        assert seen["metadata"] == {"authorization": "Bearer x"}
        assert 500 < seen["seconds"] <= 700
        await carrier.call()
        assert seen["seconds"] is None


async def test_an_error_keeps_its_details() -> None:
    async def refuse(_tenant_id: str, context: Any) -> None:
        await context.abort_with_status(rpc_status.to_status(error_status(AccessDenied("not you"))))

    async with carrying(Server(refuse)) as carrier:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await carrier.call()
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert isinstance(error_from_rpc(refused.value), AccessDenied)


async def test_a_fault_of_the_handler_is_internal_and_tells_nothing() -> None:
    async def fail(_tenant_id: str, _context: Any) -> None:
        raise ZeroDivisionError("a secret")

    async with carrying(Server(fail)) as carrier:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await carrier.call()
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in (refused.value.details() or "")
        carrier.server.script = None
        assert await carrier.call("b") == "b", "the lane goes on"


async def test_a_caller_who_leaves_stops_the_work() -> None:
    async def wait(_tenant_id: str, _context: Any) -> None:
        await asyncio.sleep(60)

    async with carrying(Server(wait)) as carrier:
        call = asyncio.create_task(carrier.call())
        await carrier.server.started.wait()
        call.cancel()
        await until(carrier.server.cancelled.is_set)


async def test_a_call_ends_with_its_time() -> None:
    async def wait(_tenant_id: str, _context: Any) -> None:
        await asyncio.sleep(60)

    async with carrying(Server(wait)) as carrier:
        while not carrier.server.started.is_set():  # on a busy machine its time may be over before it gets there
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await carrier.call(timeout=0.2)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(carrier.server.cancelled.is_set)


async def test_calls_that_find_no_lane_or_a_full_one_go_by_themselves() -> None:
    release = asyncio.Event()

    async def wait(_tenant_id: str, _context: Any) -> None:
        await release.wait()

    async with carrying(Server(wait)) as carrier:
        calls = [asyncio.create_task(carrier.call(f"t{number}")) for number in range(300)]
        await until(lambda: carrier.server.running == 300)
        release.set()
        assert await asyncio.gather(*calls) == [f"t{number}" for number in range(300)]
    async with carrying(Server(), lane_count=0) as carrier:
        assert await carrier.call("b") == "b"


async def test_a_lane_that_breaks_fails_its_calls_as_unavailable_and_is_opened_again() -> None:
    async def wait(_tenant_id: str, _context: Any) -> None:
        await asyncio.sleep(60)

    async with carrying(Server(wait), port=free_ports(1)[0]) as carrier:
        call = asyncio.create_task(carrier.call())
        await carrier.server.started.wait()
        await carrier.grpc_server.stop(0)
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await call
        assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
        async with carrying(Server(), port=carrier.port, lane_count=0) as again:
            await again.until_lanes(1)
            assert await carrier.call("b") == "b"
            assert again.server.served == 1


async def test_a_server_that_stops_answers_what_it_took() -> None:
    release = asyncio.Event()

    async def wait(_tenant_id: str, _context: Any) -> None:
        await release.wait()

    async with carrying(Server(wait)) as carrier:
        calls = [asyncio.create_task(carrier.call(f"t{number}")) for number in range(20)]
        await until(lambda: carrier.server.running == 20)
        carrier.lanes.close_lanes()
        stopping = asyncio.create_task(carrier.grpc_server.stop(PATIENCE_SECONDS))
        await until(lambda: not carrier.lane_channel._lanes)  # its client was told
        assert not stopping.done()
        release.set()
        assert await asyncio.gather(*calls) == [f"t{number}" for number in range(20)]
        await stopping


async def test_replicas_share_the_calls_and_what_a_lost_one_had() -> None:
    async with carrying(Server(), lane_count=0) as first, carrying(Server(), lane_count=0) as second:
        options = [("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}))]
        address = f"ipv4:127.0.0.1:{first.port},127.0.0.1:{second.port}"
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            await asyncio.gather(*(health(each.port) for each in (first, second)))
            lanes = LaneChannel(channel, lambda: channel)
            async with lanes.keeping_lanes(2):
                await asyncio.gather(first.until_lanes(1), second.until_lanes(1))
                stub = gateway_grpc.GatewayServiceStub(lanes.as_channel())
                request = gateway_pb2.ListCollectionsRequest(tenant_id="a")
                for _ in range(100):
                    await stub.ListCollections(request)
                assert min(first.server.served, second.server.served) > 20
                second.lanes.close_lanes()
                await second.grpc_server.stop(5)
                await first.until_lanes(2)
                before = first.server.served
                for _ in range(10):
                    await stub.ListCollections(request)
                assert first.server.served == before + 10


async def health(port: int) -> None:
    """Wait until the server can be connected to."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()


@pytest.mark.parametrize(
    "method",
    ["/vecsec.gateway.v1.GatewayService/ImportDocuments", "/vecsec.lane.v1.LaneService/Carry", "/grpc.x/Y", "", "../"],
)
async def test_only_unary_methods_are_carried(method: str) -> None:
    async with carrying(Server(), lane_count=0) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        await stream.write(lane_pb2.CarryRequest(calls=[lane_pb2.CarriedCall(call_id=1, method=method)]))
        answer = await stream.read()
        assert isinstance(answer, lane_pb2.CarryResponse)
        assert answer.outcomes[0].failure.code == grpc.StatusCode.UNIMPLEMENTED.value[0]


async def test_a_call_id_that_is_running_ends_the_lane() -> None:
    async def wait(_tenant_id: str, _context: Any) -> None:
        await asyncio.sleep(60)

    async with carrying(Server(wait), lane_count=0) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        call = lane_pb2.CarriedCall(call_id=1, method=METHOD)
        await stream.write(lane_pb2.CarryRequest(calls=[call, call]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await until(carrier.server.cancelled.is_set)


async def test_answers_that_a_client_does_not_read_do_not_pile_up() -> None:
    async with carrying(Server(), lane_count=0) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        request = gateway_pb2.ListCollectionsRequest(tenant_id="x" * 20_000).SerializeToString()
        calls = [lane_pb2.CarriedCall(call_id=number, method=METHOD, request=request) for number in range(2_000)]

        async def send() -> None:
            for start in range(0, len(calls), 20):
                await stream.write(lane_pb2.CarryRequest(calls=calls[start : start + 20]))

        sending = asyncio.create_task(send())
        by_themselves = gateway_grpc.GatewayServiceStub(carrier.channel)

        async def served_while_others_are() -> int:
            before = carrier.server.served
            for _ in range(100):
                await by_themselves.ListCollections(gateway_pb2.ListCollectionsRequest(tenant_id="a"))
            return carrier.server.served - before - 100

        while not carrier.server.served or await served_while_others_are():
            await asyncio.sleep(0)
        assert not sending.done()
        assert carrier.server.served < 1_000, "what is not read holds the rest up"
        answered: set[int] = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(answered) < len(calls):
                answer = await stream.read()
                assert isinstance(answer, lane_pb2.CarryResponse)
                answered |= {outcome.call_id for outcome in answer.outcomes}
        await sending
        stream.cancel()


async def test_a_call_whose_time_is_over_before_it_began_is_answered_and_makes_room() -> None:
    async with carrying(Server(), lane_count=0) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        answered = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            for start in range(0, 600, 100):
                calls = [
                    lane_pb2.CarriedCall(call_id=start + number, method=METHOD, timeout_seconds=1e-9)
                    for number in range(100)
                ]
                await stream.write(lane_pb2.CarryRequest(calls=calls))
                while len(answered) < start + 100:
                    answer = await stream.read()
                    assert isinstance(answer, lane_pb2.CarryResponse)
                    answered += [outcome.call_id for outcome in answer.outcomes]
        assert sorted(answered) == list(range(600))


async def test_large_calls_of_some_callers_do_not_end_the_lane_of_the_others() -> None:
    async with carrying(Server()) as carrier:
        large = ["x" * 200_000 + str(number) for number in range(50)]  # together more than a server takes at once
        answers = await asyncio.gather(*(carrier.call(tenant_id) for tenant_id in ("small", *large)))
        assert answers == ["small", *large]


async def test_no_call_is_given_to_a_lane_that_has_just_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with carrying(Server()) as carrier:
        (lane,) = carrier.lane_channel._lanes
        offered = []

        def look_before_the_keeper_does() -> None:
            offered.append(carrier.lane_channel._free_lane())

        monkeypatch.setattr(lane, "_fail_all", look_before_the_keeper_does)
        lane._stream.cancel()
        await lane.retired.wait()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await carrier.call("b") == "b"
        assert offered == [None]


async def test_an_unknown_method_is_not_repeated_at_length() -> None:
    async with carrying(Server(), lane_count=0) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        await stream.write(lane_pb2.CarryRequest(calls=[lane_pb2.CarriedCall(call_id=1, method="x" * 1_000_000)]))
        answer = await stream.read()
        assert isinstance(answer, lane_pb2.CarryResponse)
        assert len(answer.outcomes[0].failure.message) < 200


async def test_no_client_keeps_a_lane_for_ever() -> None:
    async def wait(_tenant_id: str, _context: Any) -> None:
        await asyncio.sleep(60)

    async def one_call_of_a_lane() -> None:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        await stream.write(lane_pb2.CarryRequest(calls=[lane_pb2.CarriedCall(call_id=1, method=METHOD)]))
        await stream.read()

    async with carrying(Server(wait), lane_count=0, life_seconds=0.5) as carrier:
        while not carrier.server.started.is_set():  # on a busy machine a lane may end before its call begins
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await one_call_of_a_lane()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(carrier.server.cancelled.is_set)


class Unwilling(lane_grpc.LaneServiceServicer):
    """Ends every lane at once, and counts them."""

    lanes = 0

    async def Carry(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        self.lanes += 1


async def test_a_peer_that_ends_lanes_at_once_is_not_asked_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    # So long at last that no machine is too slow for the calls between two of them.
    monkeypatch.setattr(lane_channel, "_PAUSE_SECONDS", (0.5, 3600.0))
    server, unwilling = grpc.aio.server(options=[("grpc.so_reuseport", 0)]), Unwilling()
    gateway_grpc.add_GatewayServiceServicer_to_server(Server(), server)
    lane_grpc.add_LaneServiceServicer_to_server(unwilling, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        lanes = LaneChannel(channel, lambda: channel)
        async with lanes.keeping_lanes(1):
            stub = gateway_grpc.GatewayServiceStub(lanes.as_channel())
            while unwilling.lanes < 3:
                await stub.ListCollections(gateway_pb2.ListCollectionsRequest(tenant_id="a"))
            seen = unwilling.lanes
            for _ in range(50):
                await stub.ListCollections(gateway_pb2.ListCollectionsRequest(tenant_id="a"))
            assert unwilling.lanes <= seen + 3
    await server.stop(0)


async def test_who_stops_in_the_moment_in_which_a_lane_fails_to_open_opens_no_more() -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_ports(1)[0]}") as nobody:
        channel = CancellingChannel(nobody)
        lanes = LaneChannel(channel.as_channel(), lambda: nobody)
        async with asyncio.timeout(PATIENCE_SECONDS), lanes.keeping_lanes(1):
            opener = await channel.cancelled
            await asyncio.wait([opener], timeout=PATIENCE_SECONDS)
            assert opener.cancelled()


async def test_a_lane_that_is_opened_as_the_server_stops_is_told_so() -> None:
    async with carrying(Server(), lane_count=0) as carrier:
        carrier.lanes.close_lanes()
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert cast("lane_pb2.CarryResponse", await stream.read()).server_id
            assert cast("lane_pb2.CarryResponse", await stream.read()).closing
        stream.cancel()


async def test_a_call_whose_time_is_over_is_told_so_by_the_server_too() -> None:
    """Not "cancelled", by which the gateway would take the peer for one that stops."""

    async def wait(_tenant_id: str, _context: Any) -> None:
        await asyncio.sleep(60)

    async with carrying(Server(wait)) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        await stream.read()
        call = lane_pb2.CarriedCall(
            call_id=1,
            method=METHOD,
            timeout_seconds=0.2,
            request=gateway_pb2.ListCollectionsRequest().SerializeToString(),
        )
        await stream.write(lane_pb2.CarryRequest(calls=[call]))
        answer = await stream.read()
        assert answer.outcomes[0].failure.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        stream.cancel()


async def test_a_lane_reads_nothing_more_while_it_keeps_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_server, "_MOST_KEPT_BYTES", 1_000)
    may_end = asyncio.Event()

    async def wait(_tenant_id: str, _context: Any) -> None:
        await may_end.wait()

    async with carrying(Server(wait)) as carrier:
        calls = [asyncio.create_task(carrier.call("x" * 600)) for _ in range(5)]
        await until(lambda: carrier.server.running == 2)
        may_end.set()
        await asyncio.gather(*calls)
        assert carrier.server.most_at_once <= 3


async def test_lanes_of_one_machine_are_bounded_and_calls_go_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_server, "_MOST_LANES_OF_ONE_MACHINE", 1)
    async with carrying(Server()) as carrier:
        stream = lane_grpc.LaneServiceStub(carrier.channel).Carry()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await carrier.call("b") == "b"


async def test_a_lane_that_opens_while_lanes_are_withdrawn_is_told_to_close() -> None:
    servicer = LaneServicer(LaneMethods([]), life_seconds=PATIENCE_SECONDS)
    written: list[lane_pb2.CarryResponse] = []
    is_told = asyncio.Event()

    class Stream:
        """Lanes are withdrawn while the first answer is on its way."""

        def peer(self) -> str:
            return "ipv4:192.0.2.1:1"

        async def write(self, response: lane_pb2.CarryResponse) -> None:
            written.append(response)
            if len(written) == 1:
                servicer.offer_lanes(offered=False)
            if response.closing:
                is_told.set()

    async def until_told() -> AsyncIterator[lane_pb2.CarryRequest]:
        await is_told.wait()
        for request in ():
            yield request

    async with asyncio.timeout(PATIENCE_SECONDS):
        await servicer.Carry(until_told(), cast("Any", Stream()))
    assert [each.closing for each in written] == [False, True]
