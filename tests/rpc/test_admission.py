"""Admission over real connections: who is turned away is told why and when to come back, and others notice nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from support.gateway_calls import hang, metrics, search
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refusing
from support.refusals import Refusal, read_refusal, refusal
from support.stack import bearer
from support.waiting import PATIENCE_SECONDS, until

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2, query_pb2
from vecsec_chassis.admission import admission
from vecsec_chassis.admission.adaptive_limit import AdaptiveLimit
from vecsec_chassis.domain.errors import Overloaded, TenantLimit
from vecsec_client import AsyncVecSecClient, ResourceExhausted, RetryPolicy
from vecsec_gateway.peers.own_delay import OwnDelay

SilentCall: TypeAlias = "grpc.aio.StreamUnaryCall[bytes, bytes]"
LOUD_CALLS = 60
"""Fewer than a connection may have at once."""


def two_places(clock: Callable[[], float], **_bounds: int) -> AdaptiveLimit:
    return AdaptiveLimit(clock, lowest=2, initial=2, highest=2)


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayWithPeers]:
    """Serves two calls at once, each of which takes 50 ms in retrieval."""
    monkeypatch.setattr(admission, "LONGEST_WAIT_SECONDS", 0.2)
    monkeypatch.setattr("vecsec_chassis.rpc.admission_gate.AdaptiveLimit", two_places)
    async with gateway_with_peers(tmp_path, lanes=2) as running:

        async def search_slowly(_request: object, _context: object) -> retrieval_pb2.SearchDocumentsResponse:
            await asyncio.sleep(0.05)
            return retrieval_pb2.SearchDocumentsResponse(results=running.retrieval.rows)

        running.retrieval.scripts["SearchDocuments"] = search_slowly
        for _ in range(5):
            await search(running)
        yield running


async def loud_calls(gateway: GatewayWithPeers) -> tuple[list[pb.SearchDocumentsResponse], list[Refusal]]:
    """A tenant's calls all at once: what was answered, and how the others were refused."""
    ended = await asyncio.gather(*(search(gateway) for _ in range(LOUD_CALLS)), return_exceptions=True)
    refused = [read_refusal(each) for each in ended if isinstance(each, grpc.aio.AioRpcError)]
    return [each for each in ended if isinstance(each, pb.SearchDocumentsResponse)], refused


async def test_too_many_calls_are_turned_away_with_a_reason_and_a_time(gateway: GatewayWithPeers) -> None:
    with capture_logs() as logs:
        answered, refused = await loud_calls(gateway)
    assert len(answered) >= 16
    assert refused
    for each in refused:
        assert (each.code, each.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert each.retry_seconds is not None
        assert 0 < each.retry_seconds <= 10
    assert all(each.provenance == document_pb2.PROVENANCE_REAL for each in answered)
    told = [line for line in logs if line["event"].startswith("Calls are turned away")]
    assert len(told) == 1, "one line for all of them"
    values = metrics(gateway)
    assert values['vecsec_calls_shed_total{reason="queue"}'] == len(refused)
    assert values["vecsec_calls_admitted_total"] == len(answered) + 5
    assert values["vecsec_calls_waiting"] == 0
    assert sum(value for name, value in values.items() if name.startswith("vecsec_mock_fallback_total")) == 0


async def test_another_tenant_and_health_notice_little(gateway: GatewayWithPeers) -> None:
    loud = asyncio.create_task(loud_calls(gateway))
    await until(lambda: metrics(gateway)["vecsec_calls_waiting"] >= 10)
    token = gateway.issuer.token("tenant_b", "analyst", "INTERNAL", "bob")
    question = pb.SearchDocumentsRequest(tenant_id="tenant_b", query=query_pb2.Query(text="what"), k=3)
    async with grpc.aio.insecure_channel(f"localhost:{gateway.service.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert (await check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)).status == 1
    await gateway.stub.SearchDocuments(question, metadata=bearer(token), timeout=PATIENCE_SECONDS)
    assert metrics(gateway)["vecsec_calls_waiting"] > 0, "it was served before others that came first"
    await loud


async def test_the_sdk_comes_back_when_it_is_told_to(gateway: GatewayWithPeers) -> None:
    policy = RetryPolicy(attempts=20)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        AsyncVecSecClient(
            f"localhost:{gateway.service.port}", token=gateway.token, default_tenant="tenant_a", retry_policy=policy
        ) as client,
    ):
        answers = await asyncio.gather(*(client.search("what", k=3) for _ in range(LOUD_CALLS)))
    assert len(answers) == LOUD_CALLS
    assert metrics(gateway)['vecsec_calls_shed_total{reason="queue"}'] > 0


async def test_the_sdk_gives_up_within_the_calls_deadline(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(Overloaded("too much", retry_after=30))
    async with (
        asyncio.timeout(20),
        AsyncVecSecClient(
            f"localhost:{gateway.service.port}", token=gateway.token, default_tenant="tenant_a", timeout=5
        ) as client,
    ):
        with pytest.raises(ResourceExhausted) as refused:
            await client.search("what", k=3)
    assert (refused.value.reason, refused.value.retry_after) == ("OVERLOADED", 30)


@pytest.mark.parametrize("error", [Overloaded("busy", retry_after=0.7), TenantLimit("your share", retry_after=0.7)])
async def test_a_peer_that_turns_calls_away_has_not_failed(gateway: GatewayWithPeers, error: Overloaded) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(error)
    for _ in range(8):  # more than open a circuit
        refused = await refusal(search(gateway))
        assert (refused.reason, refused.retry_seconds) == (error.reason.value, 0.7)
    values = metrics(gateway)
    assert values["vecsec_circuits_open"] == 0
    assert values["vecsec_retrieval_retries_total"] == 0
    assert sum(value for name, value in values.items() if name.startswith("vecsec_mock_fallback_total")) == 0
    gateway.policy.scripts["CheckDocuments"] = refusing(error)
    del gateway.retrieval.scripts["SearchDocuments"]
    assert (await refusal(search(gateway))).reason == error.reason.value


async def test_time_that_the_gateway_itself_took_is_no_failure_of_retrieval(
    gateway: GatewayWithPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = hang
    monkeypatch.setattr(OwnDelay, "is_late", False)
    assert (await search(gateway, timeout=2)).provenance == document_pb2.PROVENANCE_MOCK
    monkeypatch.setattr(OwnDelay, "is_late", True)
    for _ in range(8):
        refused = await refusal(search(gateway, timeout=2))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refused.retry_seconds == 1.0
    assert metrics(gateway)["vecsec_circuits_open"] == 0


async def test_a_call_that_hangs_leaves_its_place_to_others(gateway: GatewayWithPeers) -> None:
    usual = gateway.retrieval.scripts["SearchDocuments"]
    gateway.retrieval.scripts["SearchDocuments"] = hang
    hanging = [asyncio.create_task(search(gateway)) for _ in range(2)]
    await until(lambda: gateway.retrieval.calls["SearchDocuments"] >= 7)
    gateway.retrieval.scripts["SearchDocuments"] = usual
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await search(gateway)
    for each in hanging:
        each.cancel()
    await asyncio.wait(hanging)
    await until(lambda: metrics(gateway)['vecsec_requests_in_flight{method="SearchDocuments"}'] == 0)


@pytest.fixture
async def guest(gateway: GatewayWithPeers) -> AsyncIterator[Callable[[], SilentCall]]:
    """Begins searches of another tenant that send nothing after their headers, unless they are told to."""
    metadata = bearer(gateway.issuer.token("tenant_b", "guest", "PUBLIC", "bob"))
    async with grpc.aio.insecure_channel(f"localhost:{gateway.service.port}") as channel:
        begin: Any = channel.stream_unary("/vecsec.gateway.v1.GatewayService/SearchDocuments")
        yield lambda: begin(metadata=metadata, timeout=PATIENCE_SECONDS)


async def test_calls_that_send_nothing_keep_no_place(
    gateway: GatewayWithPeers, guest: Callable[[], SilentCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_chassis.rpc.admission_gate._SLOW_SECONDS", 60)
    silent = [guest() for _ in range(16)]
    in_flight = 'vecsec_requests_in_flight{method="SearchDocuments"}'
    await until(lambda: metrics(gateway)[in_flight] == len(silent))
    await search(gateway, timeout=5)
    assert not any(call.done() for call in silent), "they are waited for, without a place"
    for call in silent:
        call.cancel()
    await until(lambda: metrics(gateway)[in_flight] == 0)


async def test_a_request_that_comes_late_takes_its_turn_then(
    gateway: GatewayWithPeers, guest: Callable[[], SilentCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = asyncio.Event()
    usual = admission.Admission.request_is_late

    def noticed(self: admission.Admission, ticket: admission.Ticket) -> None:
        usual(self, ticket)
        given_up.set()

    monkeypatch.setattr(admission.Admission, "request_is_late", noticed)
    admitted = metrics(gateway)["vecsec_calls_admitted_total"]
    call = guest()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await given_up.wait()
    question = pb.SearchDocumentsRequest(tenant_id="tenant_b", query=query_pb2.Query(text="what"), k=3)
    await call.write(question.SerializeToString())
    await call.done_writing()
    assert pb.SearchDocumentsResponse.FromString(await call).provenance == document_pb2.PROVENANCE_REAL
    assert metrics(gateway)["vecsec_calls_admitted_total"] == admitted + 1


async def test_refusals_of_streams_are_held_back_as_others_are(
    gateway: GatewayWithPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_MOST_STREAMS", 0)

    async def begin() -> Refusal:
        token = (("authorization", f"Bearer {gateway.token}"),)
        return await refusal(gateway.stub.ImportDocuments(metadata=token, timeout=PATIENCE_SECONDS).read())

    started = time.monotonic()
    refused = await asyncio.gather(*(begin() for _ in range(LOUD_CALLS)))
    assert {each.reason for each in refused} == {"OVERLOADED"}
    assert time.monotonic() - started >= 1.5, "twenty at once, and twenty a second"


async def test_dear_calls_leave_places_to_plain_ones_and_keep_none_while_they_wait(
    gateway: GatewayWithPeers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecsec_chassis.rpc.admission_gate._SLOW_SECONDS", 60)
    may_go = asyncio.Event()

    async def hold_dear_ones(request: retrieval_pb2.SearchDocumentsRequest, _context: object) -> object:
        if request.k == 1_000:
            await may_go.wait()
        return retrieval_pb2.SearchDocumentsResponse(results=gateway.retrieval.rows)

    gateway.retrieval.scripts["SearchDocuments"] = hold_dear_ones
    before = gateway.retrieval.calls["SearchDocuments"]
    dear = [asyncio.create_task(search(gateway, k=1_000)) for _ in range(6)]
    await until(lambda: gateway.retrieval.calls["SearchDocuments"] > before)
    assert (await search(gateway, timeout=10)).provenance == document_pb2.PROVENANCE_REAL, "one of two places is free"
    may_go.set()
    await asyncio.gather(*dear, return_exceptions=True)
    assert (await search(gateway, timeout=10)).provenance == document_pb2.PROVENANCE_REAL, "all places are free again"
    assert metrics(gateway)["vecsec_calls_waiting"] == 0
