"""What happens around every call; handlers of all four kinds are wrapped alike, so that each interceptor says only what
it does. Their order is in `interceptor_chain.py`."""

import asyncio
import inspect
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_status import rpc_status
from opentelemetry.context import attach
from opentelemetry.propagate import extract
from opentelemetry.trace import get_current_span

from vecsec_chassis import calls
from vecsec_chassis.admission.refusal_pace import RefusalPace
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.domain.errors import DeadlineExceeded, InvalidToken, Overloaded, TenantLimit, VecSecError
from vecsec_chassis.rpc.error_status import STATUS_OF_REASON, error_status, shortened
from vecsec_chassis.rpc.outcomes import ANSWERED, CANCELLED, MOCK, expected_failures, outcome_of
from vecsec_chassis.rpc.span_status import record_served
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
PEERS_KEY = "x-vecsec-peers"
STORE_KEY = "x-vecsec-store"
"""The identities that a caller's machine has proven to a service of ours, between blanks; for the record alone."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOGGED_CHARACTERS = 500
_DEADLINE_SLACK_SECONDS = 0.05
"""Callers' clocks end calls a little before ours does."""


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


def rebuilt(
    handler: Handler, behaviour: Behaviour, *, reads_bytes: bool = False, streams_requests: bool = False
) -> Handler:
    """A handler of the same kind with another behaviour, which may take the requests as bytes and read them itself.
    With `streams_requests` it takes a stream of them in any case, which is the same on the wire."""
    make: Callable[..., Handler] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[streams_requests or bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behaviour,
        request_deserializer=None if reads_bytes else handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def received(context: Context) -> bytes | None:
    """The next message of a call that streams them; None at their end.

    The iterator that handlers are given would keep it until the garbage collector comes (grpc.aio 1.85).
    """
    message = await context.read()
    return None if message is grpc.aio.EOF else message


async def held_back(pace: RefusalPace | None, key: str) -> None:
    """Wait for as long as a refusal is to be held back."""
    seconds = 0.0 if pace is None else pace.begin(key, calls.time_remaining())
    if pace is not None and seconds > 0:
        try:
            await asyncio.sleep(seconds)
        finally:
            pace.end()


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
        store_id = metadata.get(STORE_KEY)
        call = calls.Call(method=method, request_id=request_id, deadline=deadline)
        if isinstance(store_id, str):
            call.store_id = store_id
        calls.enter(call)
        if self._records_spans:
            span = get_current_span()
            if span.is_recording():
                span.update_name(method.lstrip("/"))
                span.set_attribute("vecsec.request_id", request_id)
                call.span = span
            call.is_traced = span.get_span_context().is_valid
        trace_parent = metadata.get("traceparent")
        if isinstance(trace_parent, str) and not call.is_traced:
            # No traces are recorded here, but the caller's goes on to our peers and into the log.
            attach(extract({"traceparent": trace_parent}))
            call.is_traced = True

    async def failed(self, method: str, context: Context, note: None, error: BaseException) -> None:
        """Put the status that the caller sees on the call's span."""
        span = calls.current_span()
        if span is not None:
            record_served(span, _code_after(context, error), calls.current_call().reason)


class CountingInterceptor(AroundInterceptor):
    """Counts and times calls by method and status, and by what their callers got."""

    def __init__(self, telemetry: Telemetry, mock_reasons: Collection[str] = ()) -> None:
        """`mock_reasons` are those for which the service makes rows up."""
        self._requests = LabelledCounter(
            telemetry.meter, "vecsec_requests", "Calls served, by method and status.", "method", "code"
        )
        self._outcomes = LabelledCounter(
            telemetry.meter,
            "vecsec_call_outcomes",
            "Calls by what callers got: answered, mock, refused, unavailable, failed, cancelled; and why.",
            "outcome",
            "reason",
        )
        for outcome, reason in ((ANSWERED, ""), *((MOCK, each) for each in mock_reasons), *expected_failures()):
            self._outcomes.add(0, outcome, reason)
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
        self._ended(*note, grpc.StatusCode.OK)

    async def failed(self, method: str, context: Context, note: tuple[str, float], error: BaseException) -> None:
        """Count a call with the status that it ended with."""
        self._ended(*note, _code_after(context, error))

    def _ended(self, name: str, started: float, code: grpc.StatusCode) -> None:
        self._in_flight.add(-1, name)
        self._requests.add(1, name, code.name)
        self._duration.add(time.perf_counter() - started, name)
        call = calls.current_call()
        outcome = outcome_of(code)
        if outcome == ANSWERED:
            self._outcomes.add(1, MOCK if call.is_mock else ANSWERED, call.reason)
        else:
            # What failed after a mock was made up is none; what no error of ours ended has its status for a reason.
            reason = code.name if call.is_mock or not call.reason or outcome == CANCELLED else call.reason
            self._outcomes.add(1, outcome, reason)


class ErrorInterceptor(AroundInterceptor):
    """Turns typed errors into their status; anything else into a fixed INTERNAL text, with the details in the log."""

    async def failed(self, method: str, context: Context, note: None, error: BaseException) -> None:
        """End the call with the status of its error."""
        if isinstance(error, Overloaded | TenantLimit):
            await _abort(context, error)  # too many for a line each: who turns them away says so now and then
        elif isinstance(error, VecSecError):
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

    def __init__(self, verifier: TokenVerifier, pace: RefusalPace | None, without_token: Collection[str]) -> None:
        """Without `pace` refusals are told at once however many there are."""
        self._verifier = verifier
        self._pace = pace
        self._without_token = frozenset(without_token)

    async def before(self, method: str, context: Context) -> None:
        """Make the verified identity and token part of the call; who asks for them where none are asked refuses."""
        if method in self._without_token:
            return
        try:
            await self._verify(method, context)
        except InvalidToken:
            await held_back(self._pace, context.peer().rpartition(":")[0])
            raise

    async def _verify(self, method: str, context: Context) -> None:
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


async def _abort(context: Context, error: VecSecError) -> None:
    call = calls.current_call()
    call.is_mock, call.reason = False, error.reason.value
    await context.abort_with_status(rpc_status.to_status(error_status(error)))


def _code_after(context: Context, error: BaseException) -> grpc.StatusCode:
    """The status of a call that raised this."""
    if isinstance(error, asyncio.CancelledError):
        # A deadline that passes ends the call here as if its caller had gone away; the caller sees which it was.
        remaining: float | None = context.time_remaining()
        is_late = remaining is not None and remaining <= _DEADLINE_SLACK_SECONDS
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
    code = context.code()
    for status in grpc.StatusCode:
        if code in (status, status.value[0]):
            return status
    return grpc.StatusCode.UNKNOWN


def is_not_infrastructure(details: CallDetails) -> bool:
    return not details.method.startswith(INFRASTRUCTURE_PREFIXES)
