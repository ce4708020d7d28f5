"""A guest's message of very many empty elements is refused before it is decoded: two bytes each on the wire, a hundred
times as much in memory."""

import asyncio
import os
import resource
import sys
from pathlib import Path
from typing import Any

import grpc
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2

TESTS = Path(__file__).parents[1]
MESSAGE_BYTES = 15 * 1024 * 1024
MOST_GROWTH_BYTES = 256 * 1024 * 1024
"""Of client and services together; decoded, each message would take 1.8 GiB."""


async def test_threat_21_empty_elements_take_no_memory(tmp_path: Path) -> None:
    """In a process of its own, for what others have taken before would hide it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(tmp_path), env={**os.environ, "PYTHONPATH": str(TESTS)}
    )
    assert await child.wait() == 0


async def main(directory: Path) -> None:
    """Send such messages, as a stream and as a search, and look at what it took."""
    async with running_stack(directory) as stack:
        await stack.load("tenant_a", document("a", "hello world", topics=("public",)))
        guest = stack.issuer.token("tenant_a", "guest", "PUBLIC", "somebody")
        admin = stack.issuer.token("tenant_a", "admin", "SECRET", "admin")
        before = _peak_bytes()
        port = stack.gateway_service.port
        async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
            for _ in range(3):
                documents = await _refused_import(channel, guest)
                assert (documents.code, documents.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("documents",))
        request = gateway_service_pb2.SearchDocumentsRequest(tenant_id="tenant_a", k=1)
        request.query.text = "hello"
        for _ in range(400_000):
            request.filter.any_of.filters.add()
        search = stack.gateway.SearchDocuments(request, metadata=bearer(guest), timeout=SEARCH_SECONDS)
        assert (await refusal(search)).fields == ("filter.any_of.filters",)
        grown = _peak_bytes() - before
        assert grown < MOST_GROWTH_BYTES, f"{grown:,} bytes"
        assert await stack.ids(admin, "tenant_a") == ["a"]


async def _refused_import(channel: grpc.aio.Channel, token: str) -> Any:
    field = gateway_service_pb2.ImportDocumentsRequest.DESCRIPTOR.fields_by_name["documents"]
    front = gateway_service_pb2.ImportDocumentsRequest(tenant_id="tenant_a").SerializeToString()
    data = front + bytes([field.number << 3 | 2, 0]) * (MESSAGE_BYTES // 2)
    call: Any = channel.stream_unary("/vecsec.gateway.v1.GatewayService/ImportDocuments")
    return await refusal(call(iter([data]), metadata=bearer(token), timeout=SEARCH_SECONDS))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
