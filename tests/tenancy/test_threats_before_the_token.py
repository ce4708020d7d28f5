"""What strangers send before anybody knows them is not received: measured by what the services take of it."""

import asyncio
import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from bench.raw_calls import RawConnection, framed
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.lane.v1 import lane_service_pb2
from vecsec.policy.v1 import policy_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec_chassis.rpc.server_options import BETWEEN_SERVICES_BYTES

SIZE = 20 * 1024 * 1024
A_WINDOW = 128 * 1024
"""The 64 KiB that every stream of HTTP/2 may send ahead, and some more that a transport asks for."""
GATEWAY_METHODS = [method.name for method in gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods]
POLICY_METHODS = [method.name for method in policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"].methods]
RETRIEVAL_METHODS = [
    method.name for method in retrieval_service_pb2.DESCRIPTOR.services_by_name["RetrievalService"].methods
]


async def sent(port: int, path: str, body: bytes, **headers: str) -> int:
    """How much of a body the other side took before it ended the call."""

    def call() -> int:
        with RawConnection(port, SEARCH_SECONDS) as connection:
            return connection.call(path, body, headers)

    return await asyncio.to_thread(call)


async def test_threat_21_no_method_receives_a_large_request_of_a_stranger(tmp_path: Path) -> None:
    large, packed = framed(bytes(SIZE)), framed(gzip.compress(bytes(SIZE)), is_compressed=True)
    async with running_stack(tmp_path) as stack:
        for service, port, methods in (
            ("gateway", stack.gateway_service.port, GATEWAY_METHODS),
            ("policy", stack.policy_service.port, POLICY_METHODS),
            ("retrieval", stack.retrieval_service.port, RETRIEVAL_METHODS),
        ):
            for method in methods:
                path = f"/vecsec.{service}.v1.{service.capitalize()}Service/{method}"
                assert await sent(port, path, large) <= A_WINDOW, path
                assert await sent(port, path, packed, **{"grpc-encoding": "gzip"}) <= A_WINDOW, path


async def test_threat_21_a_lane_takes_no_large_message(tmp_path: Path) -> None:
    call = lane_service_pb2.CarriedCall(call_id=1, method="/a/b", request=bytes(SIZE))
    body = framed(lane_service_pb2.CarryRequest(calls=[call]).SerializeToString())
    async with running_stack(tmp_path) as stack:
        for service in (stack.policy_service, stack.retrieval_service):
            assert await sent(service.port, "/vecsec.lane.v1.LaneService/Carry", body) <= A_WINDOW


async def test_threat_21_health_and_reflection_answer_small_questions_alone(tmp_path: Path) -> None:
    packed = framed(gzip.compress(bytes(15 * 1024 * 1024)), is_compressed=True)
    async with running_stack(tmp_path) as stack:
        port = stack.gateway_service.port
        for path in (
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            await sent(port, path, packed, **{"grpc-encoding": "gzip"})
        async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health.Check(health_pb2.HealthCheckRequest(service="x" * 100_000), timeout=SEARCH_SECONDS)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "16,384" in (refused.value.details() or "")
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=SEARCH_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_threat_21_who_is_known_is_told_which_limit_a_request_breaks(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")
        request = gateway_service_pb2.ListCollectionsRequest(tenant_id="x" * 2_000_000)
        refused = await refusal(stack.gateway.ListCollections(request, metadata=bearer(token), timeout=SEARCH_SECONDS))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("request",))
        assert "1,048,576" in refused.message


async def test_threat_21_a_batch_larger_than_a_message_between_services_is_stored_whole(tmp_path: Path) -> None:
    documents = [document(f"doc-{number}", "word " * 150_000, topics=("rag",)) for number in range(10)]
    async with running_stack(tmp_path) as stack:
        assert sum(each.ByteSize() for each in documents) > BETWEEN_SERVICES_BYTES
        await stack.load("tenant_a", *documents)
        token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
        ids = [each.document_id for each in documents]
        for half in (ids[:5], ids[5:]):  # gRPC's own clients take answers of 4 MiB
            question = gateway_service_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=half)
            found = await stack.gateway.GetDocuments(question, metadata=bearer(token), timeout=SEARCH_SECONDS)
            assert len(found.documents) == 5


async def test_threat_21_answers_that_nobody_reads_do_not_pile_up(tmp_path: Path) -> None:
    """A client that opens its window for nothing asks for large answers again and again."""
    documents = [document(f"doc-{number}", "word " * 190_000, topics=("rag",)) for number in range(10)]
    ids = [each.document_id for each in documents]
    question = gateway_service_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=ids).SerializeToString()
    unsent = "vecsec_unsent_answer_bytes"
    async with running_stack(tmp_path) as stack:
        await stack.load("tenant_a", *documents)
        token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
        with RawConnection(stack.gateway_service.port, SEARCH_SECONDS) as connection:
            for _ in range(12):
                connection.begin(
                    "/vecsec.gateway.v1.GatewayService/GetDocuments", framed(question), dict(bearer(token))
                )
            most = 0.0

            def look() -> bool:
                nonlocal most
                values = stack.metrics(stack.gateway_service)
                most = max(most, values.get(unsent, 0.0))
                refused = 'vecsec_requests_total{code="RESOURCE_EXHAUSTED",method="GetDocuments"}'
                return values.get(refused, 0.0) > 0

            await until(look)
            assert 8_000_000 < most <= 40_000_000
            other = stack.issuer.token("tenant_b", "analyst", "INTERNAL", "bob")
            assert await stack.ids(other, "tenant_b") == []
        await until(lambda: stack.metrics(stack.gateway_service)[unsent] == 0)


async def test_threat_21_strangers_who_send_nothing_take_no_place_at_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_chassis.rpc.admission_gate._SLOW_SECONDS", 60)
    async with (
        running_stack(tmp_path) as stack,
        grpc.aio.insecure_channel(f"localhost:{stack.policy_service.port}") as channel,
    ):
        begin: Any = channel.stream_unary("/vecsec.policy.v1.PolicyService/ReportForeignAccess")
        silent = [begin(timeout=SEARCH_SECONDS) for _ in range(100)]
        await until(lambda: any(call.done() for call in silent))
        refused = await refusal(next(call for call in silent if call.done()))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert sum(not call.done() for call in silent) >= 32
        async with asyncio.timeout(5):
            assert await stack.ids(stack.issuer.token("tenant_b", "analyst", "INTERNAL", "bob"), "tenant_b") == []
        for call in silent:
            call.cancel()


async def test_threat_21_a_machine_that_sends_nothing_does_not_stop_health_for_others(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        port = stack.gateway_service.port
        with ExitStack() as silent:
            for _ in range(5):
                connection = silent.enter_context(RawConnection(port, SEARCH_SECONDS, source="127.0.0.2"))
                for _ in range(64):
                    connection.begin_silently("/grpc.health.v1.Health/Check", {})
            # A second for each call that sends nothing would be twenty.
            async with asyncio.timeout(10), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for _ in range(20):
                    question = health_pb2.HealthCheckRequest()
                    answer = await health_pb2_grpc.HealthStub(channel).Check(question, timeout=5)
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
