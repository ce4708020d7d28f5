"""Health and reflection, which need no token: what is received for them is small, and little of it at once.

gRPC bounds messages for a whole server alone, and imports need large ones. So a few of these calls at a time are asked
for their message, by turns of the machines that send them, and the others have sent what fits into a window (64 KiB).
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import grpc

from vecsec_chassis.admission.turns import FairTurns, TooManyWaiting
from vecsec_chassis.rpc.interceptors import (
    CallDetails,
    Context,
    Continuation,
    MaybeHandler,
    behaviour_of,
    rebuilt,
    received,
)

_PREFIX = "/grpc."
_MESSAGE_BYTES = 16 * 1024
"""Names of services and of files."""
_RECEIVED_AT_ONCE = 2
_LATER_ONES_AT_ONCE = 1
"""Of the further questions of a stream, which keep nobody's first one waiting."""
_MOST_WAITING, _MOST_WAITING_OF_A_MACHINE = 256, 8
_LOOKS = 5
_LOOK_SECONDS = 0.01
"""The first message has left with the call. It is looked for so many times: where the event loop is late, a time alone
would be over before anybody looked."""
_LATER_SECONDS = 1.0
"""In which a further message has to follow."""


class OpenMethodsInterceptor(grpc.aio.ServerInterceptor):
    """Receives the requests of health and reflection."""

    def __init__(self) -> None:
        self._first_turns, self._later_turns = (
            FairTurns(places, most_waiting=_MOST_WAITING, most_waiting_of_a_key=_MOST_WAITING_OF_A_MACHINE)
            for places in (_RECEIVED_AT_ONCE, _LATER_ONES_AT_ONCE)
        )

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """Wrap the handler of an open method; leave all others alone."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_PREFIX):
            return handler
        deserialize, streams = handler.request_deserializer, handler.request_streaming
        behaviour = behaviour_of(handler)

        async def read_each(context: Context) -> AsyncIterator[Any]:
            message = await self._receive(context)
            while message is not None:
                yield deserialize(message) if deserialize else message
                message = await self._receive(context, is_first=False)

        async def request_of(context: Context) -> Any:
            if streams:
                return read_each(context)
            message = await self._receive(context)
            if message is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a message")
            return deserialize(message) if deserialize else message

        async def answer(_messages: Any, context: Context) -> Any:
            return await behaviour(await request_of(context), context)

        async def stream(_messages: Any, context: Context) -> AsyncIterator[Any]:
            async for response in behaviour(await request_of(context), context):
                yield response

        wrapped = stream if inspect.isasyncgenfunction(behaviour) else answer  # `Watch` writes its answers itself
        return rebuilt(handler, wrapped, reads_bytes=True, streams_requests=True)

    async def _receive(self, context: Context, *, is_first: bool = True) -> bytes | None:
        """The next message; None at the end. A call that sends too much, or does not send, ends here."""
        try:
            if is_first:
                async with self._first_turns.turn(_machine(context)):
                    message = await _soon(received(context))
            else:
                async with self._later_turns.turn(_machine(context)), asyncio.timeout(_LATER_SECONDS):
                    message = await received(context)
        except TooManyWaiting:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls without a token; try again later")
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came with the call")
        size = 0 if message is None else len(message)
        if size > _MESSAGE_BYTES:
            message = None  # the error's traceback would keep it until the next collection
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"a request of {size:,} bytes; this method takes {_MESSAGE_BYTES:,}"
            )
        return message


async def _soon(receiving: Coroutine[Any, Any, bytes | None]) -> bytes | None:
    """What is received almost at once.

    Raises:
        TimeoutError: if nothing is.
    """
    task = asyncio.ensure_future(receiving)
    try:
        for _ in range(_LOOKS):
            await asyncio.wait((task,), timeout=_LOOK_SECONDS)
            if task.done():
                return task.result()
    finally:
        task.cancel()
    raise TimeoutError


def _machine(context: Context) -> str:
    """Who sends, without the port."""
    return context.peer().rpartition(":")[0]
