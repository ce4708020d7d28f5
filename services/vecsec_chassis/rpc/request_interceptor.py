"""Receives requests, decodes them and holds them to the contract, once everything further out has let the call in."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from vecsec_chassis.calls import current_call
from vecsec_chassis.domain.errors import DeadlineExceeded, InvalidRequest, ShuttingDown
from vecsec_chassis.rpc.admission_interceptors import TenantOfGrant
from vecsec_chassis.rpc.interceptors import (
    INFRASTRUCTURE_PREFIXES,
    CallDetails,
    Context,
    Continuation,
    Handler,
    MaybeHandler,
    behaviour_of,
    rebuilt,
    received,
)
from vecsec_chassis.rpc.request_rules import RequestReader

_UNARY_BYTES = 1024 * 1024
"""Only imports, which are streams, have a reason to send more at once."""
_REQUEST_SECONDS = 10.0
"""In which a single request has to arrive whole."""
_IDLE_STREAM_SECONDS = 60.0
_NEW_STREAM_SECONDS = 1.0
"""After which it makes sense to open one, where a stream ended because the service stops."""


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Reads requests itself, so that an undecodable one gets an error that says why; checks the contract's rules.

    Also a single request is taken as a stream of one: gRPC receives and unpacks nothing of a stream before it is asked
    for, so a caller whom the interceptors further out refuse has sent no more than fits into a window (64 KiB).
    """

    def __init__(
        self, max_message_bytes: int, streams_end: asyncio.Event, tenant_of_grant: TenantOfGrant | None
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._streams_end = streams_end
        self._reader = RequestReader(tenant_of_grant)

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """Give the handler requests that are decoded and hold every rule."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(INFRASTRUCTURE_PREFIXES):
            return handler
        kind = _message_type(handler)
        max_bytes = self._max_message_bytes
        if not handler.request_streaming:
            max_bytes = min(max_bytes, _UNARY_BYTES)
        read = partial(self._reader.read, kind, max_bytes=max_bytes)

        async def read_each(data: AsyncIterator[bytes]) -> AsyncIterator[Message]:
            messages = aiter(data)
            while (item := await _next_message(messages, self._streams_end)) is not None:
                reading = read(item)
                del item  # an error of `reading` would keep it
                yield await reading

        behaviour = behaviour_of(handler)
        streams = handler.request_streaming

        async def answer(data: Any, context: Context) -> Any:
            request = read_each(data) if streams else await read(await _only(data, context))
            return await behaviour(request, context)

        async def stream(data: Any, context: Context) -> AsyncIterator[Any]:
            request = read_each(data) if streams else await read(await _only(data, context))
            async for response in behaviour(request, context):
                yield response

        return rebuilt(
            handler, stream if handler.response_streaming else answer, reads_bytes=True, streams_requests=True
        )


async def _only(data: "bytes | AsyncIterator[bytes]", context: Context) -> bytes:
    """The one message of a unary call; a lane has received it already.

    Raises:
        DeadlineExceeded: if it does not arrive in time.
        InvalidRequest: if there is none.
        Overloaded, TenantLimit: if it does not come at once, and too much is waited for.
    """
    if isinstance(data, bytes):
        return data
    place = current_call().place
    return await (_arriving(context) if place is None else place.receive(_arriving(context)))


async def _arriving(context: Context) -> bytes:
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            message = await received(context)
    except TimeoutError as error:
        raise DeadlineExceeded(f"the request did not arrive within {_REQUEST_SECONDS:.0f} seconds") from error
    if message is None:
        raise InvalidRequest.of("request", "is missing: the call ended without a message")
    return message


async def _next_message(messages: AsyncIterator[bytes], streams_end: asyncio.Event) -> bytes | None:
    """The next message of a stream; None at its end.

    Raises:
        DeadlineExceeded: if none is sent for a minute.
        ShuttingDown: once `streams_end` is set.
    """
    reading, ending = asyncio.ensure_future(anext(messages, None)), asyncio.ensure_future(streams_end.wait())
    try:
        await asyncio.wait((reading, ending), timeout=_IDLE_STREAM_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and (reading.result() is None or not streams_end.is_set()):
            return reading.result()
    finally:
        reading.cancel()
        ending.cancel()
    if streams_end.is_set():
        raise ShuttingDown(
            "the service is stopping; go on after the last acknowledged message, on a new stream",
            retry_after=_NEW_STREAM_SECONDS,
        )
    raise DeadlineExceeded(f"nothing was sent for {_IDLE_STREAM_SECONDS:.0f} seconds; open a new stream to go on")


def _message_type(handler: Handler) -> type[Message]:
    """The request's message class: generated handlers deserialize with its own FromString."""
    kind: type[Message] = handler.request_deserializer.__self__  # type: ignore[union-attr]
    return kind
