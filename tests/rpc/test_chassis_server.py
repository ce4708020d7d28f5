"""The server that every service stands on: errors, request ids, sizes, metrics, and an end that loses nothing."""

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from pydantic import Field
from support.refusals import refusal
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2, retrieval_service_pb2_grpc
from vecsec.type.v1 import document_pb2, sensitivity_pb2
from vecsec_chassis import calls
from vecsec_chassis.domain.errors import AccessDenied, ConfigurationError, RetrievalUnavailable
from vecsec_chassis.rpc import request_interceptor
from vecsec_chassis.rpc.server import RunningService, running_server
from vecsec_chassis.settings import ListeningSettings, OptionalPort, PeerList, Port
from vecsec_chassis.telemetry.telemetry import running_telemetry
from vecsec_chassis.tls.allowed_peers import AllowedPeers

SERVICE = "vecsec.retrieval.v1.RetrievalService"
Request = retrieval_service_pb2.ListCollectionsRequest
Response = retrieval_service_pb2.ListCollectionsResponse
BatchOfDocuments = retrieval_service_pb2.ImportDocumentsRequest
BatchStored = retrieval_service_pb2.ImportDocumentsResponse


class OwnSettings(ListeningSettings):
    """Of a service that only tests know."""

    port: Port = Field(0, alias="VECSEC_TEST_PORT")
    metrics_port: Port = 0
    health_port: OptionalPort = None
    allowed_peers: PeerList = AllowedPeers({})


class Handlers(retrieval_service_pb2_grpc.RetrievalServiceServicer):
    """Does what the request's grant field says."""

    def __init__(self) -> None:
        self.request_ids: list[str] = []
        self.finished = 0

    async def ListCollections(self, request: Request, context: object) -> Response:
        self.request_ids.append(calls.current_request_id())
        match request.grant:
            case "denied":
                raise AccessDenied("not for you", detail="a detail for the log")
            case "later":
                raise RetrievalUnavailable("not now", retry_after=1.5)
            case "fault":
                raise ValueError("a text with secrets")
            case "identity":
                calls.current_identity()
            case "slow":
                await asyncio.sleep(0.5)
        self.finished += 1
        return Response()

    async def ImportDocuments(
        self, request_iterator: AsyncIterator[BatchOfDocuments], context: object
    ) -> AsyncIterator[BatchStored]:
        async for _ in request_iterator:
            self.finished += 1
            yield BatchStored(batch_number=self.finished)


@asynccontextmanager
async def serving(handlers: Handlers, **settings: object) -> AsyncIterator[RunningService]:
    with running_telemetry("retrieval", address="127.0.0.1", metrics_port=0, otlp_endpoint=None) as telemetry:
        async with running_server(
            service_name=SERVICE,
            add_servicer=lambda server: retrieval_service_pb2_grpc.add_RetrievalServiceServicer_to_server(
                handlers, server
            ),
            settings=OwnSettings.model_validate(settings),
            certificates=None,
            telemetry=telemetry,
            token_verifier=None,
        ) as service:
            yield service


@asynccontextmanager
async def called(handlers: Handlers, **settings: object) -> AsyncIterator[tuple[RunningService, object]]:
    async with (
        serving(handlers, **settings) as service,
        grpc.aio.insecure_channel(f"localhost:{service.port}") as channel,
    ):
        yield service, retrieval_service_pb2_grpc.RetrievalServiceStub(channel)


async def test_reflection_shows_the_rules_of_the_contracts() -> None:
    """The stubs do not import what defines them; whoever asks a service is told both."""
    async with serving(Handlers()) as service:
        with grpc.insecure_channel(f"localhost:{service.port}") as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            request = await asyncio.to_thread(pool.FindMessageTypeByName, "vecsec.retrieval.v1.SearchDocumentsRequest")
            rules = pool.FindExtensionByName("buf.validate.field")
            options = GetMessageClass(rules.containing_type).FromString(
                request.fields_by_name["k"].GetOptions().SerializeToString()
            )
            assert (options.Extensions[rules].int32.gte, options.Extensions[rules].int32.lte) == (1, 1000)
            lane = await asyncio.to_thread(pool.FindMessageTypeByName, "vecsec.lane.v1.CarriedCall")
            assert lane.file.name == "vecsec/lane/v1/lane_service.proto"
            with pytest.raises(KeyError):
                await asyncio.to_thread(pool.FindMessageTypeByName, "vecsec.retrieval.v1.NoSuchRequest")


async def test_typed_errors_become_a_status_with_one_error_info() -> None:
    async with called(Handlers()) as (_, stub):
        denied = await refusal(stub.ListCollections(Request(grant="denied")))
        assert (denied.code, denied.reason, denied.domain, denied.message) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "ACCESS_DENIED",
            "vecsec",
            "not for you",
        )
        assert b"detail for the log" not in denied.details
        later = await refusal(stub.ListCollections(Request(grant="later")))
        assert (later.code, later.retry_seconds) == (grpc.StatusCode.UNAVAILABLE, 1.5)


async def test_unknown_errors_tell_the_caller_nothing_but_the_request_id() -> None:
    handlers = Handlers()
    async with called(handlers) as (_, stub):
        fault = await refusal(stub.ListCollections(Request(grant="fault")))
        assert (fault.code, fault.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert b"secrets" not in fault.details
        assert handlers.request_ids[0] in fault.message


async def test_a_forgotten_authentication_refuses() -> None:
    async with called(Handlers()) as (_, stub):
        refused = await refusal(stub.ListCollections(Request(grant="identity")))
        assert refused.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-123", True), ("x" * 65, False), ("a b", False), ("{}", False), ("", False)]
)
async def test_request_ids_are_kept_if_they_are_sane(sent: str, kept: bool) -> None:
    handlers = Handlers()
    async with called(handlers) as (_, stub):
        await stub.ListCollections(Request(), metadata=(("x-request-id", sent),))
    assert (handlers.request_ids == [sent]) is kept
    assert handlers.request_ids[0]


async def test_a_request_over_the_limit_names_the_limit() -> None:
    async with called(Handlers(), VECSEC_MAX_MESSAGE_BYTES=2048) as (_, stub):
        refused = await refusal(stub.ListCollections(Request(grant="x" * 3000)))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("request",))
        assert "2,048" in refused.message


async def test_calls_are_counted_by_method_and_status() -> None:
    async with called(Handlers()) as (service, stub):
        await stub.ListCollections(Request())
        await refusal(stub.ListCollections(Request(grant="denied")))

        def metrics() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics") as answer:
                return answer.read().decode()

        # A call is counted after its answer has left.
        await until(lambda: 'code="PERMISSION_DENIED"' in metrics())
        text = metrics()
    assert 'vecsec_requests_total{code="OK",method="ListCollections"} 1.0' in text
    assert 'vecsec_requests_total{code="PERMISSION_DENIED",method="ListCollections"} 1.0' in text
    assert 'vecsec_request_duration_seconds_count{method="ListCollections"} 2.0' in text


async def test_health_is_not_serving_until_told_so() -> None:
    async with serving(Handlers()) as service, grpc.aio.insecure_channel(f"localhost:{service.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await service.health.set_serving(True)
        for name in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_calls_in_flight_finish_while_the_server_stops() -> None:
    handlers = Handlers()
    async with AsyncExitStack() as channels:
        async with serving(handlers) as service:
            channel = await channels.enter_async_context(grpc.aio.insecure_channel(f"localhost:{service.port}"))
            stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
            call = stub.ListCollections(Request(grant="slow"))
            await until(lambda: handlers.request_ids)
        assert await call == Response()
    assert handlers.finished == 1


async def test_a_busy_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="VECSEC_TEST_PORT"):
            async with serving(Handlers(), port=taken.getsockname()[1]):
                pass


@pytest.mark.parametrize("pause", [0.05, 60.0], ids=["busy", "waiting"])
async def test_a_stream_that_outlasts_the_grace_time_ends_between_two_messages_with_a_reason(pause: float) -> None:
    handlers, acknowledged = Handlers(), 0
    document = document_pb2.DocumentInput(
        document_id="d", text="t", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"]
    )

    async def load() -> None:
        nonlocal acknowledged
        call = stub.ImportDocuments()
        while True:
            await call.write(BatchOfDocuments(grant="g", documents=[document]))
            await call.read()
            acknowledged += 1
            await asyncio.wait([asyncio.ensure_future(call.code())], timeout=pause)
            if call.done():
                await call.read()  # raises the reason

    async with AsyncExitStack() as channels:
        async with serving(handlers, VECSEC_SHUTDOWN_GRACE_SECONDS=2) as service:
            channel = await channels.enter_async_context(grpc.aio.insecure_channel(f"localhost:{service.port}"))
            stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
            loading = asyncio.create_task(load())
            await until(lambda: acknowledged)
        refused = await refusal(loading)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert refused.retry_seconds is not None
    assert acknowledged == handlers.finished


async def test_a_stream_on_which_nothing_is_sent_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_interceptor, "_IDLE_STREAM_SECONDS", 0.2)
    async with called(Handlers()) as (_, stub):
        idle = stub.ImportDocuments()  # type: ignore[attr-defined]
        refused = await refusal(idle.read())
        idle.cancel()
    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert "nothing was sent" in refused.message
