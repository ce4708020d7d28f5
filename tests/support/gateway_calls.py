"""Calls of a gateway between stand-ins, in the words of its tests, and what these stand-ins may be told to do."""

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from support.gateway_peers import GatewayWithPeers
from support.waiting import PATIENCE_SECONDS
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import query_pb2


def bearer(gateway: GatewayWithPeers) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {gateway.token}"),)


async def search(
    gateway: GatewayWithPeers,
    *,
    timeout: float | None = PATIENCE_SECONDS,
    extra: tuple[tuple[str, str], ...] = (),
    **fields: Any,
) -> gateway_pb2.SearchDocumentsResponse:
    request = gateway_pb2.SearchDocumentsRequest(
        **{"tenant_id": "tenant_a", "query": query_pb2.Query(text="what"), "k": 3, **fields}
    )
    return await gateway.stub.SearchDocuments(request, metadata=bearer(gateway) + extra, timeout=timeout)


def ids(answer: gateway_pb2.SearchDocumentsResponse) -> list[str]:
    return [result.document.document_id for result in answer.results]


def metrics(gateway: GatewayWithPeers) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.service.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


async def hang(_request: Any, _context: Any) -> None:
    await asyncio.sleep(60)


def unavailable_times(count: int, answer: Any) -> Callable[[Any, Any], Awaitable[Any]]:
    """Unavailable that many times, then an answer."""
    left = count

    async def script(_request: Any, context: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone for a moment")
        return answer

    return script
