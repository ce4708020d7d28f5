"""Servers that do nothing, in VecSec's shape: `python -m bench.floor_server PORT [PEER_PORT …]`.

With peers it is what the gateway is at the least: a unary method that exchanges a message with each peer, one after the
other, on a stream that stays open. Without, it is such a peer.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
import uvloop

SERVICE = "bench.Floor"
ANSWER = bytes(4096)
"""About what ten rows are."""


class Peer:
    """An open stream to a peer, which answers in the order in which it was asked."""

    def __init__(self, stream: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        self._stream = stream
        self._turn = asyncio.Lock()
        self._waiting: deque[asyncio.Future[bytes]] = deque()

    async def ask(self, request: bytes) -> bytes:
        """The peer's answer."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        async with self._turn:  # one message at a time is all that a stream takes
            self._waiting.append(answer)
            await self._stream.write(request)
        return await answer

    async def read(self) -> None:
        """Hand answers out, until the stream ends."""
        while isinstance(answer := await self._stream.read(), bytes):
            self._waiting.popleft().set_result(answer)


async def _exchange(requests: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
    async for _ in requests:
        await context.write(ANSWER)


def _asking(peers: Sequence[Peer]) -> Callable[[bytes, object], Awaitable[bytes]]:
    async def ask_each(request: bytes, _context: object) -> bytes:
        answer = request
        for peer in peers:
            answer = await peer.ask(request)
        return answer

    return ask_each


async def serve(port: int, peer_ports: Sequence[int]) -> None:
    """Serve until the process is ended."""
    async with AsyncExitStack() as stack:
        peers = []
        for peer_port in peer_ports:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{peer_port}"))
            peers.append(Peer(channel.stream_stream(f"/{SERVICE}/Exchange")(wait_for_ready=True)))
        readers = [asyncio.create_task(peer.read()) for peer in peers]
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Exchange": grpc.stream_stream_rpc_method_handler(_exchange),
            "Search": grpc.unary_unary_rpc_method_handler(_asking(peers)),
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await asyncio.gather(server.wait_for_termination(), *readers)


if __name__ == "__main__":
    own_port, *ports_of_peers = map(int, sys.argv[1:])
    uvloop.run(serve(own_port, ports_of_peers))
