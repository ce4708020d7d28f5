"""Imports through the gateway in its production wiring, between peers that fail in ways the real ones should not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.gateway_peers import GatewayWithPeers, gateway_with_peers, refuse, refusing
from support.refusals import refusal
from support.stack import bearer
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import document_pb2, sensitivity_pb2
from vecsec_chassis.domain.errors import AccessDenied, InvalidRequest, LimitExceeded, WrongShard


def batch(number: int, **fields: Any) -> gateway_pb2.ImportDocumentsRequest:
    document = document_pb2.DocumentInput(
        document_id=f"d{number}", text="t", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"]
    )
    return gateway_pb2.ImportDocumentsRequest(**{"tenant_id": "tenant_a", "documents": [document], **fields})


class Import:
    """One import call and what came back."""

    def __init__(self, gateway: GatewayWithPeers, requests: Any, seconds: float | None = None) -> None:
        metadata = bearer(gateway.issuer.token())
        self.call = gateway.stub.ImportDocuments(requests, metadata=metadata, timeout=seconds)
        self.acknowledged: list[int] = []

    async def finish(self) -> list[int]:
        async for response in self.call:
            self.acknowledged.append(response.batch_number)
        return self.acknowledged


async def test_each_batch_is_acknowledged(gateway: GatewayWithPeers) -> None:
    assert await Import(gateway, [batch(number) for number in range(10)]).finish() == list(range(1, 11))
    assert gateway.policy.calls == {"PlanAccess": 1, "CheckDocuments": 10}
    assert gateway.retrieval.grants == ["grant 1", *[""] * 9]


async def test_batches_are_numbered_on_where_the_stream_has_to_begin_anew(gateway: GatewayWithPeers) -> None:
    """As when the tenant moves to another shard meanwhile: clients refuse numbers that come out of turn."""
    refused = []

    async def script(_request: Any, context: Any) -> None:
        if gateway.retrieval.batches_received == 3:
            refused.append(gateway.retrieval.batches_received)
            await refuse(context, WrongShard(""))  # the name of the only one

    gateway.retrieval.scripts["ImportDocuments"] = script
    metadata = bearer(gateway.issuer.token())
    batches = [batch(number) for number in range(5)]
    answers = [each async for each in gateway.stub.ImportDocuments(iter(batches), metadata=metadata)]
    assert refused == [3]
    assert gateway.retrieval.calls["ImportDocuments"] == 2, "streams"
    assert [each.batch_number for each in answers] == [1, 2, 3, 4, 5]
    assert [each.total_stored_count for each in answers] == [1, 2, 3, 4, 5]
    assert [each.stored_count for each in answers] == [1] * 5


@pytest.mark.parametrize("seconds", [None, 600.0])
async def test_the_callers_deadline_alone_bounds_the_stream(gateway: GatewayWithPeers, seconds: float | None) -> None:
    assert await Import(gateway, [batch(1)], seconds).finish() == [1]
    [left] = gateway.retrieval.seconds_left
    assert left is None if seconds is None else left is not None and 300 < left <= 600


async def test_the_token_of_an_importer_goes_to_policy_only(gateway: GatewayWithPeers) -> None:
    await Import(gateway, [batch(1), batch(2)]).finish()
    assert {each["authorization"][:9] for each in gateway.policy.metadata} == {"Bearer ey"}
    assert all("authorization" not in each for each in gateway.retrieval.metadata)


async def test_nothing_sent_nothing_done(gateway: GatewayWithPeers) -> None:
    assert await Import(gateway, []).finish() == []
    assert not gateway.policy.calls


@pytest.mark.parametrize(
    ("field", "value"), [("tenant_id", "tenant_b"), ("collection_id", "another-one"), ("documents", [])]
)
async def test_a_bad_batch_ends_the_stream_after_what_came_before_is_acknowledged(
    gateway: GatewayWithPeers, field: str, value: Any
) -> None:
    running = Import(gateway, [batch(1), batch(2), batch(3, **{field: value}), batch(4)])
    refused = await refusal(running.finish())
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", (field,))
    assert running.acknowledged == [1, 2]
    assert gateway.retrieval.batches_received == 2


async def test_the_empty_collection_id_is_the_default_one(gateway: GatewayWithPeers) -> None:
    assert await Import(gateway, [batch(1), batch(2, collection_id="documents")]).finish() == [1, 2]


async def test_the_grant_is_renewed_in_time(gateway: GatewayWithPeers) -> None:
    gateway.policy.grant_seconds = 0.05

    async def slowly() -> AsyncIterator[gateway_pb2.ImportDocumentsRequest]:
        for number in range(4):
            yield batch(number)
            await until(lambda number=number: gateway.retrieval.batches_received > number)
            await asyncio.sleep(gateway.policy.grant_seconds)

    assert await Import(gateway, slowly()).finish() == [1, 2, 3, 4]
    assert gateway.retrieval.grants == ["grant 1", "grant 2", "grant 3", "grant 4"]


async def test_a_right_withdrawn_meanwhile_ends_the_stream(gateway: GatewayWithPeers) -> None:
    gateway.policy.grant_seconds = 0.05

    async def slowly() -> AsyncIterator[gateway_pb2.ImportDocumentsRequest]:
        yield batch(1)
        await until(lambda: gateway.retrieval.batches_received)
        await asyncio.sleep(gateway.policy.grant_seconds)
        gateway.policy.scripts["PlanAccess"] = refusing(AccessDenied("no longer"))
        yield batch(2)

    running = Import(gateway, slowly())
    assert (await refusal(running.finish())).reason == "ACCESS_DENIED"
    assert running.acknowledged == [1]


async def test_a_slow_retrieval_holds_the_caller_back(gateway: GatewayWithPeers) -> None:
    listing = gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a")
    gateway.retrieval.release_batches.clear()
    running = asyncio.ensure_future(Import(gateway, [batch(number) for number in range(50)]).finish())
    await until(lambda: gateway.retrieval.batches_received)
    for _ in range(50):  # other callers are served meanwhile
        await gateway.stub.ListCollections(listing, metadata=bearer(gateway.issuer.token()))
    assert gateway.retrieval.batches_received == 1
    gateway.retrieval.release_batches.set()
    assert len(await running) == 50


async def test_the_callers_cancellation_reaches_retrieval(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.release_batches.clear()
    running = Import(gateway, [batch(1), batch(2)])
    finishing = asyncio.ensure_future(running.finish())
    await until(lambda: gateway.retrieval.batches_received)
    running.call.cancel()
    await until(gateway.retrieval.cancelled.is_set)
    with pytest.raises(asyncio.CancelledError):
        await finishing


async def test_an_error_of_retrieval_comes_through_and_is_not_tried_again(gateway: GatewayWithPeers) -> None:
    gateway.retrieval.scripts["ImportDocuments"] = refusing(LimitExceeded("the disk is full"))
    refused = await refusal(Import(gateway, [batch(1), batch(2)]).finish())
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert gateway.retrieval.calls["ImportDocuments"] == 1


async def test_retrieval_gone_in_the_middle(gateway: GatewayWithPeers) -> None:
    async def script(_request: Any, context: Any) -> None:
        if gateway.retrieval.batches_received == 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    gateway.retrieval.scripts["ImportDocuments"] = script
    running = Import(gateway, [batch(1), batch(2), batch(3)])
    refused = await refusal(running.finish())
    assert refused.reason == "RETRIEVAL_UNAVAILABLE"
    assert refused.retry_seconds is not None
    assert running.acknowledged == [1]


async def test_a_denied_writer_never_reaches_retrieval(gateway: GatewayWithPeers) -> None:
    gateway.policy.scripts["PlanAccess"] = refusing(AccessDenied("you may not write"))
    assert (await refusal(Import(gateway, [batch(1)]).finish())).reason == "ACCESS_DENIED"
    assert not gateway.retrieval.calls


async def test_a_refused_import_leaves_no_batch_behind_that_still_waits_to_be_sent(gateway: GatewayWithPeers) -> None:
    await Import(gateway, [batch(1)]).finish()
    gateway.retrieval.scripts["ImportDocuments"] = refusing(InvalidRequest.of("documents[0].embedding", "is too long"))
    before = len(asyncio.all_tasks())
    for _ in range(20):
        await refusal(Import(gateway, [batch(1), batch(2)]).finish())
    await until(
        lambda: len(asyncio.all_tasks()) <= before + 5,
        lambda: f"{len(asyncio.all_tasks()) - before} tasks more, one for each import that was refused",
    )


async def test_retrieval_that_ends_early_as_if_all_were_well_is_not_taken_at_its_word(
    gateway: GatewayWithPeers,
) -> None:
    gateway.retrieval.ends_import_after = 1
    running = Import(gateway, [batch(1), batch(2), batch(3)])
    assert (await refusal(running.finish())).reason == "RETRIEVAL_UNAVAILABLE"
    assert running.acknowledged == [1]


async def test_a_hanging_policy_service_ends_an_import_in_a_way_that_may_pass(tmp_path: Path) -> None:
    """However long a try may take: the caller, who set no deadline, has not run out of time."""

    async def hang(_request: Any, _context: Any) -> None:
        await asyncio.sleep(60)

    async with gateway_with_peers(tmp_path, VECSEC_POLICY_TIMEOUT_SECONDS=30) as gateway:
        gateway.policy.scripts["CheckDocuments"] = hang
        refused = await refusal(Import(gateway, [batch(1)]).finish())
    assert (refused.reason, refused.retry_seconds) == ("POLICY_UNAVAILABLE", 1)
