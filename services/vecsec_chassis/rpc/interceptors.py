"""What happens around every call, in the order of `chain`; handlers of all four kinds are wrapped alike, so that each
interceptor says only what it does."""

import asyncio
import inspect
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import Message
from grpc_status import rpc_status
from opentelemetry.context import attach
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.propagate import extract
from opentelemetry.trace import get_current_span

from vecsec_chassis import calls
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.domain.errors import DeadlineExceeded, InvalidToken, ShuttingDown, VecSecError
from vecsec_chassis.rpc.error_status import STATUS_OF_REASON, error_status, shortened
from vecsec_chassis.rpc.request_rules import read
from vecsec_chassis.telemetry.metrics import DurationHistogram, LabelledCounter, LabelledGauge
from vecsec_chassis.telemetry.telemetry import Telemetry
from vecsec_chassis.telemetry.tracing import Timed

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
CallDetails: TypeAlias = grpc.HandlerCallDetails
Continuation: TypeAlias = Callable[[CallDetails], Awaitable[MaybeHandler]]
"""What gives the handler as the interceptors further in have wrapped it."""
Behaviour: TypeAlias = Callable[[Any, Context], Any]
"""A handler's function: a message or an iterator of messages in, an awaitable or an async iterator out."""

INFRASTRUCTURE_PREFIXES = ("/grpc.", "/vecsec.lane.")
"""Health, reflection and lanes: served without the interceptors that are about VecSec's own calls. What a lane carries
does pass through them, call by call."""
REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOGGED_CHARACTERS = 500
_UNARY_BYTES = 1024 * 1024
"""Only imports, which are streams, have a reason to send more at once."""
_IDLE_STREAM_SECONDS = 60.0
_NEW_STREAM_SECONDS = 1.0
"""After which it makes sense to open one, where a stream ended because the service stops."""
_OK = grpc.StatusCode.OK.name


class HandlerCache(grpc.aio.ServerInterceptor):
    """Remembers the wrapped handler of each method: without it, all interceptors would wrap anew for every call."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """The handler as wrapped by all interceptors after this one; methods that do not exist are not remembered."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is not None:
                self._handlers[method] = handler
        return handler


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor that does something before and after each call of our own services."""

    covers_infrastructure = False
    """Whether it does so for health, reflection and lanes, too."""

    async def before(self, method: str, context: Context) -> Any:
        """What to do before a call; what it returns is there again afterwards."""

    def succeeded(self, method: str, context: Context, note: Any) -> None:
        """What to do after a call that was answered; `note` is what `before` returned."""

    async def failed(self, method: str, context: Context, note: Any, error: BaseException) -> None:
        """What to do after a call that raised this; it is raised again, unless something else is raised here."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """Wrap the handler that the next interceptor gives."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or (method.startswith(INFRASTRUCTURE_PREFIXES) and not self.covers_infrastructure):
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: Handler, method: str) -> Handler:
        behaviour = behaviour_of(handler)
        has_before = type(self).before is not AroundInterceptor.before
        has_succeeded = type(self).succeeded is not AroundInterceptor.succeeded

        # Written out, for an asynchronous context manager made by a generator costs ten microseconds a call.
        async def answer(request: Any, context: Context) -> Any:
            note = await self.before(method, context) if has_before else None
            try:
                response = await behaviour(request, context)
            except BaseException as error:
                await self.failed(method, context, note, error)
                raise
            if has_succeeded:
                self.succeeded(method, context, note)
            return response

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            note = await self.before(method, context) if has_before else None
            try:
                async for response in behaviour(request, context):
                    yield response
            except BaseException as error:
                await self.failed(method, context, note, error)
                raise
            if has_succeeded:
                self.succeeded(method, context, note)

        # Some streams write their answers themselves instead of yielding them: lanes, and the health service's Watch.
        return rebuilt(handler, stream if inspect.isasyncgenfunction(behaviour) else answer)


def behaviour_of(handler: Handler) -> Behaviour:
    """The handler's function, whichever of the four kinds it is."""
    kinds: tuple[Any, ...] = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    behaviour: Behaviour = next(kind for kind in kinds if kind is not None)
    return behaviour


def rebuilt(handler: Handler, behaviour: Behaviour, *, reads_bytes: bool = False) -> Handler:
    """A handler of the same kind with another behaviour, which may take the requests as bytes and read them itself."""
    make: Callable[..., Handler] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behaviour,
        request_deserializer=None if reads_bytes else handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def chain(
    telemetry: Telemetry,
    *,
    peers: "AroundInterceptor | None",
    token_verifier: TokenVerifier | None,
    max_message_bytes: int,
    streams_end: asyncio.Event,
) -> Sequence[grpc.aio.ServerInterceptor]:
    """The interceptors of a service, outermost first. When `streams_end` is set, streams of requests end in good order.

    Without `peers` it does not matter which machine calls. Without a verifier calls are not authenticated here: the
    retrieval service acts on grants instead.
    """
    interceptors: list[grpc.aio.ServerInterceptor] = [
        # Outermost, for it spares all others their work.
        HandlerCache(),
    ]
    if telemetry.is_tracing:
        # The span comes before all else, so that everything below is inside it and has its trace id.
        interceptors.append(
            aio_server_interceptor(tracer_provider=telemetry.tracer_provider, filter_=_is_not_infrastructure)  # type: ignore[no-untyped-call]
        )
    interceptors += [
        # The request id, which log lines and errors of all others carry.
        CallInterceptor(records_spans=telemetry.is_tracing),
        # Counting stands outside of the error mapping, so that it sees the status that the caller sees.
        CountingInterceptor(telemetry),
        # Errors of everything below become a status here, once.
        ErrorInterceptor(),
    ]
    if peers is not None:
        # Which machine calls is settled before on whose behalf it does.
        interceptors.append(peers)
    if token_verifier is not None:
        # Who calls is settled before a byte of the request is decoded.
        interceptors.append(AuthenticationInterceptor(token_verifier))
    # Innermost: decoding and the contract's own rules.
    interceptors.append(RequestInterceptor(max_message_bytes, streams_end))
    return interceptors


class CallInterceptor(AroundInterceptor):
    """Makes the call's context: its request id (the peer's, if it sent a sane one), deadline and trace."""

    def __init__(self, *, records_spans: bool) -> None:
        """`records_spans`: whether there is a span around each call."""
        self._records_spans = records_spans

    async def before(self, method: str, context: Context) -> None:
        """Enter the call."""
        remaining: float | None = context.time_remaining()  # the type stubs do not know that there may be none
        metadata = dict(context.invocation_metadata() or ())
        request_id = metadata.get(REQUEST_ID_KEY)
        if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
            request_id = calls.unique_id()
        deadline = None if remaining is None else time.monotonic() + remaining
        call = calls.Call(method=method, request_id=request_id, deadline=deadline)
        calls.enter(call)
        if self._records_spans:
            span = get_current_span()
            if span.is_recording():
                span.set_attribute("vecsec.request_id", request_id)
                call.span = span
            call.is_traced = span.get_span_context().is_valid
        trace_parent = metadata.get("traceparent")
        if isinstance(trace_parent, str) and not call.is_traced:
            # No traces are recorded here, but the caller's goes on to our peers and into the log.
            attach(extract({"traceparent": trace_parent}))
            call.is_traced = True


class CountingInterceptor(AroundInterceptor):
    """Counts and times calls by method and status."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._requests = LabelledCounter(
            telemetry.meter, "vecsec_requests", "Calls served, by method and status.", "method", "code"
        )
        self._in_flight = LabelledGauge(
            telemetry.meter, "vecsec_requests_in_flight", "Calls that are being served, by method.", "method"
        )
        self._duration = DurationHistogram(
            telemetry.meter, "vecsec_request_duration", "How long calls took, by method.", "method"
        )

    async def before(self, method: str, context: Context) -> tuple[str, float]:
        """The method's short name, and when the call started."""
        name = method.rpartition("/")[2]
        self._in_flight.add(1, name)
        return name, time.perf_counter()

    def succeeded(self, method: str, context: Context, note: tuple[str, float]) -> None:
        """Count an answered call."""
        self._ended(*note, _OK)

    async def failed(self, method: str, context: Context, note: tuple[str, float], error: BaseException) -> None:
        """Count a call with the status that it ended with."""
        cancelled = isinstance(error, asyncio.CancelledError)
        self._ended(*note, grpc.StatusCode.CANCELLED.name if cancelled else _code_name(context))

    def _ended(self, name: str, started: float, code: str) -> None:
        self._in_flight.add(-1, name)
        self._requests.add(1, name, code)
        self._duration.add(time.perf_counter() - started, name)


class ErrorInterceptor(AroundInterceptor):
    """Turns typed errors into their status; anything else into a fixed INTERNAL text, with the details in the log."""

    async def failed(self, method: str, context: Context, note: None, error: BaseException) -> None:
        """End the call with the status of its error."""
        if isinstance(error, VecSecError):
            log.info(
                "call refused",
                method=method,
                reason=error.reason.value,
                code=STATUS_OF_REASON[error.reason].name,
                detail=shortened(error.detail or error.message, _LOGGED_CHARACTERS),
            )
            await _abort(context, error)
        elif isinstance(error, TimeoutError):
            log.info("deadline exceeded", method=method)
            await _abort(
                context, DeadlineExceeded("the deadline passed before the answer was ready", detail=str(error))
            )
        elif isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            # The one place where unknown errors end.
            log.error("unexpected error", method=method, exc_info=error)
            request_id = calls.current_request_id()
            await _abort(context, VecSecError(f"internal error; the log has the details under request id {request_id}"))


class AuthenticationInterceptor(AroundInterceptor):
    """Verifies the caller's token; nothing else in the metadata says who calls."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def before(self, method: str, context: Context) -> None:
        """Make the verified identity and token part of the call."""
        values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if len(values) != 1 or not isinstance(values[0], str):
            raise InvalidToken(
                "send exactly one token as metadata `authorization: Bearer <token>`",
                detail=f"{len(values)} authorization entries for {method}",
            )
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken(
                "send the token as metadata `authorization: Bearer <token>`", detail="not a bearer token"
            )
        call = calls.current_call()
        with Timed("token"):
            call.identity = await self._verifier.verify(token)
        call.token = token


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Reads requests itself, so that an undecodable one gets an error that says why; checks the contract's rules."""

    def __init__(self, max_message_bytes: int, streams_end: asyncio.Event) -> None:
        self._max_message_bytes = max_message_bytes
        self._streams_end = streams_end

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """Give the handler requests that are decoded and hold every rule."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(INFRASTRUCTURE_PREFIXES):
            return handler
        kind = _message_type(handler)
        max_bytes = self._max_message_bytes
        if not handler.request_streaming:
            max_bytes = min(max_bytes, _UNARY_BYTES)

        async def read_each(data: AsyncIterator[bytes]) -> AsyncIterator[Message]:
            messages = aiter(data)
            while (item := await _next_message(messages, self._streams_end)) is not None:
                yield await read(kind, item, max_bytes=max_bytes)

        behaviour = behaviour_of(handler)
        streams = handler.request_streaming

        async def answer(data: Any, context: Context) -> Any:
            request = read_each(data) if streams else await read(kind, data, max_bytes=max_bytes)
            return await behaviour(request, context)

        async def stream(data: Any, context: Context) -> AsyncIterator[Any]:
            request = read_each(data) if streams else await read(kind, data, max_bytes=max_bytes)
            async for response in behaviour(request, context):
                yield response

        return rebuilt(handler, stream if handler.response_streaming else answer, reads_bytes=True)


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


async def _abort(context: Context, error: VecSecError) -> None:
    await context.abort_with_status(rpc_status.to_status(error_status(error)))


def _code_name(context: Context) -> str:
    code = context.code()
    for status in grpc.StatusCode:
        if code in (status, status.value[0]):
            return status.name
    return grpc.StatusCode.UNKNOWN.name


def _is_not_infrastructure(details: CallDetails) -> bool:
    return not details.method.startswith(INFRASTRUCTURE_PREFIXES)
