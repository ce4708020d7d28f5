"""What a failed call becomes, and when it is tried again."""

import socket
import time
from collections import deque
from typing import Any

import grpc
import pytest
from support.client_caller import QUICK, Caller, MakeCaller
from support.fake_gateway import Failure, FakeGateway

import vecsec_client
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import error_reason_pb2
from vecsec_client import NO_RETRIES, RetryPolicy, VecSecError
from vecsec_client.retrying import Deadline, is_transient
from vecsec_client.wire.error_details import WRONG_SHARD, from_rpc_error

UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, reason="RETRIEVAL_UNAVAILABLE")


@pytest.fixture(autouse=True)
def answer(gateway: FakeGateway) -> None:
    gateway.answers["ListCollections"] = gateway_pb2.ListCollectionsResponse()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, vecsec_client.InvalidArgument),
        (grpc.StatusCode.UNAUTHENTICATED, vecsec_client.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, vecsec_client.PermissionDenied),
        (grpc.StatusCode.NOT_FOUND, vecsec_client.NotFound),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, vecsec_client.ResourceExhausted),
        (grpc.StatusCode.DATA_LOSS, vecsec_client.DataLoss),
        (grpc.StatusCode.INTERNAL, vecsec_client.Internal),
        (grpc.StatusCode.DEADLINE_EXCEEDED, vecsec_client.DeadlineExceeded),
        (grpc.StatusCode.ABORTED, VecSecError),
    ],
)
async def test_each_status_has_its_error_and_none_of_these_is_tried_again(
    caller: Caller, gateway: FakeGateway, code: grpc.StatusCode, kind: type[VecSecError]
) -> None:
    gateway.failures.append(Failure(code, "no", "SOME_REASON", (("tenant_id", "bad"),)))
    with pytest.raises(VecSecError) as caught:
        await caller.call("list_collections")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.reason, error.message) == (code, "SOME_REASON", "no")
    assert [(each.field, each.description) for each in error.violations] == [("tenant_id", "bad")]
    assert error.request_id == gateway.received[0].metadata["x-request-id"]
    assert len(gateway.received) == 1


@pytest.mark.parametrize("reason", ["ACCESS_DENIED", ""])
async def test_a_denial_is_not_tried_again_even_if_it_advises_to(
    caller: Caller, gateway: FakeGateway, reason: str
) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.PERMISSION_DENIED, reason=reason, retry_after=0.001))
    with pytest.raises(vecsec_client.PermissionDenied):
        await caller.call("list_collections")
    assert len(gateway.received) == 1


async def test_a_hiccup_is_bridged_under_one_request_id(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.extend([UNAVAILABLE] * 3)
    assert await caller.call("list_collections") == ()
    assert len(gateway.received) == 4
    assert len({each.metadata["x-request-id"] for each in gateway.received}) == 1


async def test_after_the_last_try_the_failure_itself_comes_out(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.extend([UNAVAILABLE] * 9)
    with pytest.raises(vecsec_client.Unavailable) as caught:
        await caller.call("list_collections")
    assert caught.value.reason == "RETRIEVAL_UNAVAILABLE"
    assert len(gateway.received) == QUICK.attempts


async def test_advice_is_followed(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="LIMIT_EXCEEDED", retry_after=0.3))
    started = time.monotonic()
    await caller.call("list_collections")
    assert time.monotonic() - started >= 0.3
    assert len(gateway.received) == 2


async def test_a_tenant_that_another_shard_has_is_asked_for_again(caller: Caller, gateway: FakeGateway) -> None:
    wrong = Failure(grpc.StatusCode.FAILED_PRECONDITION, reason="WRONG_SHARD", retry_after=0.1)
    gateway.failures.append(wrong)
    await caller.call("list_collections")
    assert len(gateway.received) == 2
    gateway.failures.extend([wrong] * 10)
    with pytest.raises(vecsec_client.Unavailable) as caught:
        await caller.call("list_collections")
    assert caught.value.reason == "WRONG_SHARD"


async def test_advice_beyond_the_deadline_fails_at_once(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.UNAVAILABLE, retry_after=60))
    started = time.monotonic()
    with pytest.raises(vecsec_client.Unavailable) as caught:
        await caller.call("list_collections", timeout=30)
    assert time.monotonic() - started < 25
    assert caught.value.retry_after == 60
    assert len(gateway.received) == 1


async def test_a_limit_without_advice_is_not_tried_again(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="LIMIT_EXCEEDED"))
    with pytest.raises(vecsec_client.ResourceExhausted):
        await caller.call("list_collections")
    assert len(gateway.received) == 1


async def test_what_an_operator_switched_off_is_not_tried_again(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.UNAVAILABLE, reason="REAL_RETRIEVAL_OFF", retry_after=0.01))
    with pytest.raises(vecsec_client.Unavailable):
        await caller.call("list_collections")
    assert len(gateway.received) == 1


async def test_no_retries_means_none(make_caller: MakeCaller, gateway: FakeGateway) -> None:
    gateway.failures.append(UNAVAILABLE)
    with pytest.raises(vecsec_client.Unavailable):
        await make_caller(retry_policy=NO_RETRIES).call("list_collections")
    assert len(gateway.received) == 1


async def test_tries_share_one_deadline(caller: Caller, gateway: FakeGateway) -> None:
    # More than 3 % of the timeout: gRPC takes one that it has sent before for one that is so little shorter.
    gateway.failures.append(Failure(grpc.StatusCode.UNAVAILABLE, retry_after=1.0))
    await caller.call("list_collections", timeout=10)
    first, second = (each.time_remaining for each in gateway.received)
    assert first is not None
    assert second is not None
    assert second < first - 0.4


async def test_each_try_asks_for_the_token_anew(make_caller: MakeCaller, gateway: FakeGateway) -> None:
    gateway.failures.append(UNAVAILABLE)
    tokens = deque(["first", "second"])
    await make_caller(token=tokens.popleft).call("list_collections")
    assert [each.metadata["authorization"] for each in gateway.received] == ["Bearer first", "Bearer second"]


async def test_nobody_there_is_unavailable_without_a_reason(make_caller: MakeCaller) -> None:
    with pytest.raises(vecsec_client.Unavailable) as caught:
        await make_caller(address="localhost:1").call("list_collections")
    assert caught.value.reason == ""


async def test_a_call_that_a_stopping_gateway_cancelled_is_tried_again(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.CANCELLED, "CANCELLED"))
    await caller.call("list_collections")
    assert len(gateway.received) == 2
    gateway.failures.extend([Failure(grpc.StatusCode.CANCELLED, "CANCELLED")] * 9)
    with pytest.raises(vecsec_client.Unavailable, match="stopped before it answered"):
        await caller.call("list_collections")


async def test_a_call_whose_connection_broke_is_tried_again(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.INTERNAL, "Internal error from Core"))
    await caller.call("list_collections")
    assert len(gateway.received) == 2


def test_a_broken_connection_may_hide_a_refusal() -> None:
    """grpc.aio says the same when the gateway refuses a batch while the next one is being written."""
    broken = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Internal error from Core"
    )
    error = from_rpc_error(broken, "r")
    assert error.is_unexplained
    assert is_transient(error)


async def test_a_gateway_that_does_not_answer_meets_the_deadline(make_caller: MakeCaller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # listens, and accepts nobody
        port = server.getsockname()[1]
        caller = make_caller(address=f"127.0.0.1:{port}", timeout=0.3)
        started = time.monotonic()
        with pytest.raises((vecsec_client.DeadlineExceeded, vecsec_client.Unavailable)):
            await caller.call("list_collections")
        assert time.monotonic() - started < 20


async def test_details_of_others_are_not_taken_for_ours(caller: Caller, gateway: FakeGateway) -> None:
    """A proxy on the way may send details of its own, or bytes that are none."""

    class Proxy(Failure):
        def status(self) -> object:
            status = super().status()
            return type(status)(self.code, self.message, (("grpc-status-details-bin", b"\xff\xff"),))

    gateway.failures.append(Proxy(grpc.StatusCode.NOT_FOUND, "no route"))
    with pytest.raises(vecsec_client.NotFound, match="no route") as caught:
        await caller.call("list_collections")
    assert caught.value.reason == ""


def test_reasons_that_decide_about_retries_are_of_the_contract() -> None:
    names = error_reason_pb2.ErrorReason.keys()
    assert {"ERROR_REASON_REAL_RETRIEVAL_OFF", f"ERROR_REASON_{WRONG_SHARD}"} <= set(names)


def test_only_our_own_errors_are_transient() -> None:
    assert not is_transient(TimeoutError())
    assert is_transient(vecsec_client.Unavailable("x"))


def test_waits_grow_to_a_limit_and_never_undercut_the_advice() -> None:
    policy = RetryPolicy(initial_wait_seconds=1.0, longest_wait_seconds=8.0)
    for attempt, longest in ((1, 1), (2, 2), (4, 8), (5, 8), (5000, 8)):
        assert all(0 <= policy.wait_seconds(attempt, None) <= longest for _ in range(50))
    assert all(30 <= policy.wait_seconds(1, 30.0) <= 31 for _ in range(50))


def test_a_deadline_knows_what_it_allows() -> None:
    assert Deadline.after(None).allows(1e9)
    assert Deadline.after(None).remaining() is None
    assert not Deadline.after(0.5).allows(0.6)
    assert Deadline.after(-1).remaining() == 0.0


LOST = Failure(grpc.StatusCode.UNAVAILABLE, "Socket closed")
NOTHING_LEFT = Failure(grpc.StatusCode.NOT_FOUND, reason="COLLECTION_NOT_FOUND")


async def test_a_deletion_whose_answer_was_lost_is_done_where_the_next_try_finds_nothing(
    caller: Caller, gateway: FakeGateway
) -> None:
    gateway.failures.extend([LOST, NOTHING_LEFT])
    deleted = await caller.call("delete_documents", whole_collection=True, collection="old")
    assert deleted.deleted_count == 0
    assert len(gateway.received) == 2


@pytest.mark.parametrize(
    ("earlier", "dry_run"),
    [
        ([], False),
        ([Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", retry_after=0.001)], False),
        ([UNAVAILABLE], False),
        ([Failure(grpc.StatusCode.UNAVAILABLE, reason="POLICY_UNAVAILABLE")], False),
        ([Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN")], False),
        ([Failure(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused")], False),
        ([LOST], True),
    ],
)
async def test_one_that_cannot_have_been_done_before_says_that_there_is_nothing(
    caller: Caller, gateway: FakeGateway, earlier: list[Failure], dry_run: bool
) -> None:
    gateway.failures.extend([*earlier, NOTHING_LEFT])
    with pytest.raises(vecsec_client.NotFound):
        await caller.call("delete_documents", whole_collection=True, collection="old", dry_run=dry_run)


@pytest.mark.parametrize("target", ["127.0.0.1:1", "dns:///nowhere.invalid:1", "unix:/nowhere/at/all"])
@pytest.mark.parametrize("balancing", ["pick_first", "round_robin"])
def test_what_no_connection_was_there_for_has_no_answer_to_lose(target: str, balancing: str) -> None:
    """The words are those of gRPC, which has no other sign of it."""
    config = f'{{"loadBalancingConfig": [{{"{balancing}": {{}}}}]}}'
    with grpc.insecure_channel(target, options=[("grpc.service_config", config)]) as channel:
        call: Any = channel.unary_unary("/a/b")
        with pytest.raises(grpc.RpcError) as failed:
            call(b"", timeout=10)
    failure = from_rpc_error(failed.value, "")
    assert (failure.code, failure.is_answer_lost) == (grpc.StatusCode.UNAVAILABLE, False)
