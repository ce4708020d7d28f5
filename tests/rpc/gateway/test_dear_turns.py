"""A dear call that has to wait for others of its tenant is told so, and never answered with what is made up."""

import asyncio
from typing import Any

import grpc
from support.gateway_calls import ids, metrics, search
from support.gateway_peers import GatewayWithPeers
from support.refusals import refusal
from support.waiting import until

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2

DEAR_K = 1_000
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MOCKS = 'vecsec_mock_fallback_total{reason="retrieval_failed"}'


class Held:
    """Answers of retrieval that come when they are let go, one at a time."""

    def __init__(self, gateway: GatewayWithPeers) -> None:
        self._gateway = gateway
        self._may_go = asyncio.Semaphore(0)
        gateway.retrieval.scripts["SearchDocuments"] = self._answer

    async def _answer(self, _request: Any, _context: Any) -> retrieval_pb2.SearchDocumentsResponse:
        await self._may_go.acquire()
        return retrieval_pb2.SearchDocumentsResponse(results=self._gateway.retrieval.rows)

    def let_go(self, count: int) -> None:
        for _ in range(count):
            self._may_go.release()

    async def two_searches(self) -> list[asyncio.Task[Any]]:
        """Two dear ones, in progress: more a tenant has not at once."""
        searches = [asyncio.create_task(search(self._gateway, k=DEAR_K)) for _ in range(2)]
        await until(lambda: self._gateway.retrieval.calls["SearchDocuments"] == 2)
        return searches


async def test_who_gets_no_turn_in_a_part_of_its_time_is_told_when_to_come_back(gateway: GatewayWithPeers) -> None:
    held = Held(gateway)
    searches = await held.two_searches()
    told = await refusal(search(gateway, k=DEAR_K, timeout=2.0))
    assert (told.code, told.reason, told.metadata["limit"]) == (EXHAUSTED, "TENANT_LIMIT", "dear_units_per_second")
    assert told.message.startswith("dear calls of your tenant take turns, and too many are in progress")
    assert told.retry_seconds is not None
    assert told.retry_seconds > 0
    held.let_go(3)
    assert [ids(answer) for answer in await asyncio.gather(*searches)] == [["first", "second"]] * 2
    assert ids(await search(gateway, k=DEAR_K)) == ["first", "second"]
    assert metrics(gateway).get(MOCKS, 0) == 0


async def test_time_that_went_by_in_waiting_for_a_turn_is_no_failure_of_retrieval(gateway: GatewayWithPeers) -> None:
    held = Held(gateway)
    searches = await held.two_searches()
    late = asyncio.create_task(refusal(search(gateway, k=DEAR_K, timeout=4.0)))
    await asyncio.sleep(0.7)  # of the second that it waits at most
    held.let_go(1)
    told = await late
    assert (told.code, told.reason) == (EXHAUSTED, "OVERLOADED")
    assert told.retry_seconds is not None
    held.let_go(2)
    await asyncio.gather(*searches)
    assert metrics(gateway).get(MOCKS, 0) == 0
