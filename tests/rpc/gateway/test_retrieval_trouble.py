"""What the gateway makes of a retrieval service that fails, refuses or hangs."""

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs
from support.gateway_calls import hang, ids, metrics, search, unavailable_times
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refuse, refusing, row
from support.refusals import refusal
from support.stack import bearer
from support.waiting import PATIENCE_SECONDS, until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2
from vecsec_chassis.domain.errors import (
    AccessDenied,
    CollectionNotFound,
    InvalidGrant,
    InvalidRequest,
    LimitExceeded,
    RetrievalUnavailable,
    ShuttingDown,
    StoreDamaged,
    VecSecError,
)
from vecsec_chassis.rpc.error_status import error_status

NONE = gateway_pb2.FALLBACK_NONE
ENDED, NOT_CONNECTED = "Socket closed", "failed to connect to all addresses; last error: Connection refused"
"""What gRPC itself says: of a call that was sent, and of one that never was."""


async def test_a_passing_trouble_is_not_seen_by_the_caller(gateway: GatewayWithPeers) -> None:
    answer = retrieval_pb2.SearchDocumentsResponse(results=[row("real")])
    gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(2, answer)
    assert ids(await search(gateway)) == ["real"]
    values = metrics(gateway)
    assert values["vecsec_retrieval_retries_total"] == 2
    assert values['vecsec_vector_retrieval_success_total{operation="search"}'] == 1


async def test_a_lasting_one_gives_a_mock_that_says_so(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(RetrievalUnavailable("store lost"))
    with capture_logs() as logs:
        answer = await search(gateway)
    assert answer.provenance == document_pb2.PROVENANCE_MOCK
    assert answer.mock_reason == gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED
    assert len(answer.results) == 3
    for result in answer.results:
        assert result.provenance == document_pb2.PROVENANCE_MOCK
        assert result.document.document_id.startswith("mock-")
        assert result.document.label.tenant_id == "tenant_a"
    assert any(line["event"] == "Real vector retrieval failed, falling back to mock" for line in logs)
    values = metrics(gateway)
    assert values['vecsec_mock_fallback_total{reason="retrieval_failed"}'] == 1
    failures = 'vecsec_vector_retrieval_failures_total{operation="search",reason="RETRIEVAL_UNAVAILABLE"}'
    assert values[failures] == 1
    assert values['vecsec_vector_retrieval_duration_seconds_count{operation="search"}'] == 1


async def test_who_wants_no_mock_is_told_when_to_come_back(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = unavailable_times(99, None)
    refused = await refusal(search(gateway, fallback=NONE))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
    assert refused.retry_seconds is not None
    assert gateway.retrieval.calls["SearchDocuments"] == 3


async def test_retrieval_stopped_altogether(gateway: GatewayWithPeers) -> None:
    await gateway.retrieval_server.stop(0)
    assert (await search(gateway)).mock_reason == gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED


async def test_retrieval_shutting_down_is_a_trouble_that_passes(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(ShuttingDown("another replica will answer"))
    assert (await refusal(search(gateway, fallback=NONE))).reason == "RETRIEVAL_UNAVAILABLE"
    assert gateway.retrieval.calls["SearchDocuments"] == 3


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("embeddings are for those who may configure"),
        CollectionNotFound("documents"),
        InvalidRequest.of("query.vector", "has 3 numbers, the collection's embeddings have 256"),
        StoreDamaged("the store of tenant 'tenant_a' cannot be read"),
        LimitExceeded("the disk is full"),
        LimitExceeded("too many searches", retry_after=30),
    ],
    ids=lambda error: f"{error.reason.value}-{error.retry_after}",
)
async def test_what_retrieval_refuses_is_refused_with_the_same_bytes_after_one_call(
    gateway: GatewayWithPeers, error: VecSecError
) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(error)
    refused = await refusal(search(gateway))
    assert refused.details == error_status(error).SerializeToString()
    assert gateway.retrieval.calls["SearchDocuments"] == 1


async def test_a_limit_that_soon_passes_is_waited_out(gateway: GatewayWithPeers) -> None:
    async def script(_request: Any, context: Any) -> retrieval_pb2.SearchDocumentsResponse:
        if gateway.retrieval.calls["SearchDocuments"] == 1:
            await refuse(context, LimitExceeded("too many searches", retry_after=0.2))
        return retrieval_pb2.SearchDocumentsResponse(results=[row("real")])

    gateway.retrieval.scripts["SearchDocuments"] = script
    started = time.monotonic()
    assert ids(await search(gateway)) == ["real"]
    assert time.monotonic() - started >= 0.2


async def test_a_busy_store_is_no_failure(gateway: GatewayWithPeers) -> None:
    """Nothing is made up, although that is allowed, and however often it is busy, the circuit stays closed."""
    gateway.retrieval.scripts["SearchDocuments"] = refusing(LimitExceeded("busy; try again", retry_after=0.01))
    for _ in range(20):
        refused = await refusal(search(gateway))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        assert refused.retry_seconds == 0.01
    assert gateway.retrieval.calls["SearchDocuments"] > 20, "and tried again"
    seen = metrics(gateway)
    assert seen["vecsec_circuits_open"] == 0
    failed = ("vecsec_mock_fallback_total", "vecsec_vector_retrieval_failures_total")
    assert not [name for name in seen if name.startswith(failed) and seen[name]]
    del gateway.retrieval.scripts["SearchDocuments"]
    assert ids(await search(gateway)) == ["first", "second"]


async def test_the_deadline_bounds_the_retries_and_leaves_room_for_the_mock(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = hang
    answer = await search(gateway, timeout=4)
    assert answer.mock_reason == gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED


async def test_a_slow_try_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async def slow_once(_request: Any, _context: Any) -> retrieval_pb2.SearchDocumentsResponse:
        if gateway.retrieval.calls["SearchDocuments"] == 1:
            await asyncio.sleep(60)
        return retrieval_pb2.SearchDocumentsResponse(results=[row("real")])

    async with gateway_with_peers(tmp_path, VECSEC_RETRIEVAL_TIMEOUT_SECONDS=1) as gateway:
        gateway.retrieval.scripts["SearchDocuments"] = slow_once
        assert ids(await search(gateway)) == ["real"]


async def test_a_refused_grant_is_replaced_once(gateway: GatewayWithPeers) -> None:
    async def script(request: Any, context: Any) -> retrieval_pb2.SearchDocumentsResponse:
        if request.grant == "grant 1":
            await refuse(context, InvalidGrant("the grant is missing, expired or not valid; plan access again"))
        return retrieval_pb2.SearchDocumentsResponse(results=[row("real")])

    gateway.retrieval.scripts["SearchDocuments"] = script
    assert ids(await search(gateway)) == ["real"]
    assert gateway.retrieval.grants == ["grant 1", "grant 2"]


async def test_grants_refused_twice_are_not_the_callers_fault(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = refusing(InvalidGrant("no"))
    refused = await refusal(search(gateway))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert gateway.retrieval.calls["SearchDocuments"] == 2


async def test_garbage_is_an_internal_error_and_not_tried_again(gateway: GatewayWithPeers) -> None:
    async def script(_request: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what?")

    gateway.retrieval.scripts["SearchDocuments"] = script
    assert (await refusal(search(gateway))).reason == "INTERNAL"
    assert gateway.retrieval.calls["SearchDocuments"] == 1


async def test_the_callers_cancellation_reaches_retrieval(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["SearchDocuments"] = hang
    call = asyncio.ensure_future(search(gateway))
    await until(lambda: gateway.retrieval.calls["SearchDocuments"])
    call.cancel()
    await until(gateway.retrieval.cancelled.is_set)


@pytest.mark.parametrize(
    ("failures", "dry_run", "is_done"),
    [
        ([ENDED], False, True),
        ([], False, False),
        ([ENDED], True, False),
        ([RetrievalUnavailable("the store is not there")], False, False),
        ([ShuttingDown("another replica will answer")], False, False),
        ([NOT_CONNECTED], False, False),
    ],
)
async def test_a_deletion_that_finds_nothing_after_a_lost_answer_is_done(
    gateway: GatewayWithPeers, failures: list[VecSecError | str], dry_run: bool, is_done: bool
) -> None:
    left = list(failures)

    async def delete(_request: Any, context: Any) -> None:
        if left:
            failure = left.pop()
            if isinstance(failure, str):
                await context.abort(grpc.StatusCode.UNAVAILABLE, failure)
            else:
                await refuse(context, failure)
        await refuse(context, CollectionNotFound("there is no such collection"))

    gateway.retrieval.scripts["DeleteDocuments"] = delete
    request = gateway_pb2.DeleteDocumentsRequest(
        tenant_id="tenant_a", collection_id="old", whole_collection=True, dry_run=dry_run
    )
    token = gateway.issuer.token("tenant_a", "admin", "SECRET", "loader")
    call = gateway.stub.DeleteDocuments(request, metadata=bearer(token), timeout=PATIENCE_SECONDS)
    if is_done:
        assert (await call).deleted_count == 0
    else:
        assert (await refusal(call)).reason == "COLLECTION_NOT_FOUND"
