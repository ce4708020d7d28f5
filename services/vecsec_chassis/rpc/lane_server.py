"""Serves lanes: many unary calls over one long-lived stream, each with the rights of its own token or grant alone.

A call costs a task here instead of a stream of its own, and calls that end together are answered together.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn, cast

import grpc
import structlog

from vecsec.lane.v1 import lane_service_pb2 as lane_pb2
from vecsec.lane.v1 import lane_service_pb2_grpc as lane_grpc
from vecsec_chassis.background import cancel_and_wait, running_in_background
from vecsec_chassis.calls import unique_id
from vecsec_chassis.rpc.interceptors import CallDetails, Context, Continuation, Handler, MaybeHandler, behaviour_of

log = structlog.get_logger()

_MAXIMUM_UNANSWERED = 256
"""So many calls of one lane run or wait for their answer to be taken; while they do, nothing more is read. So a client
that reads no answers cannot make them pile up here."""
_MOST_KEPT_BYTES = 4 * 1024 * 1024
"""Of one lane's requests that run or wait; while there are more, nothing more is read. A lane needs no token."""
_MOST_LANES, _MOST_LANES_OF_ONE_MACHINE = 256, 64
"""Further ones are refused, and their calls go by themselves."""
_MESSAGE_BYTES = 1024 * 1024
"""Answers are sent together until they are so large; what comes later need not wait for all of it."""
_SHOWN_METHOD_CHARACTERS = 100
_DETAILS_KEY = "grpc-status-details-bin"


class Metadatum(NamedTuple):
    """One entry of a call's metadata."""

    key: str
    value: str


class LaneContext:
    """The context of a carried call: of gRPC's own it has what interceptors and handlers ask of a unary call's. What
    concerns the connection is asked of the stream that carries it."""

    def __init__(self, call: lane_pb2.CarriedCall, stream: Context) -> None:
        metadata = call.metadata
        self._metadata = tuple([Metadatum(key, metadata[key]) for key in metadata])
        self._deadline = time.monotonic() + call.timeout_seconds if call.timeout_seconds > 0 else None
        self._stream = stream
        self.failure: lane_pb2.Failure | None = None
        """Why the call was aborted."""

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def peer(self) -> str:
        return self._stream.peer()

    def auth_context(self) -> Any:
        return self._stream.auth_context()

    def code(self) -> int:
        return grpc.StatusCode.OK.value[0] if self.failure is None else self.failure.code

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()
    ) -> NoReturn:
        """End the call with this status.

        Raises:
            grpc.aio.AbortError: always.
        """
        status_details = next((value for key, value in trailing_metadata if key == _DETAILS_KEY), b"")
        assert isinstance(status_details, bytes), "metadata with names that end in -bin is bytes"
        self.failure = lane_pb2.Failure(code=code.value[0], message=details, status_details=status_details)
        raise grpc.aio.AbortError

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a status and its details.

        Raises:
            grpc.aio.AbortError: always.
        """
        await self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))


@dataclass(frozen=True, slots=True)
class LaneMethod:
    """One method: bytes in, bytes out."""

    behaviour: Callable[[Any, Context], Awaitable[Any]]
    deserialize: Callable[[bytes], Any] | None
    """None where the behaviour reads bytes."""
    serialize: Callable[[Any], bytes]

    async def __call__(self, request: bytes, context: Context) -> bytes:
        message = request if self.deserialize is None else self.deserialize(request)
        return self.serialize(await self.behaviour(message, context))


@dataclass(frozen=True, slots=True)
class _CallDetails(CallDetails):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class LaneMethods:
    """Servicers are added to it as they are to a server; interceptors wrap each method once."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        """`interceptors`: of the server, outermost first."""
        self._interceptors = interceptors
        self._handlers: dict[str, Handler] = {}
        self._wrapped: dict[str, LaneMethod] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The first half of what generated code calls; the second one says the same by name."""

    def add_registered_method_handlers(self, service_name: str, handlers: "dict[str, Handler]") -> None:
        """Add the unary methods of a service."""
        for name, handler in handlers.items():
            if handler.unary_unary is not None:
                self._handlers[f"/{service_name}/{name}"] = handler

    async def find(self, method: str) -> LaneMethod | None:
        """The method with this full name; None if there is no such unary method here."""
        if method not in self._wrapped and method in self._handlers:
            self._wrapped[method] = await self._wrap(method)
        return self._wrapped.get(method)

    async def _wrap(self, method: str) -> LaneMethod:
        async def innermost(_details: CallDetails) -> MaybeHandler:
            return self._handlers[method]

        continuation: Continuation = innermost
        for interceptor in reversed(self._interceptors):
            continuation = partial(interceptor.intercept_service, continuation)
        handler = await continuation(_CallDetails(method))
        assert handler is not None
        assert handler.response_serializer is not None
        return LaneMethod(behaviour_of(handler), handler.request_deserializer, handler.response_serializer)


class LaneServicer(lane_grpc.LaneServiceServicer):
    """Carries calls to the server's own methods."""

    def __init__(self, methods: LaneMethods, *, life_seconds: float) -> None:
        """A lane is ended after `life_seconds`, whatever its client does: no peer goes on calling for ever by a
        certificate that was good when it connected."""
        self._methods = methods
        self._life_seconds = life_seconds
        self._lanes: set[_ServedLane] = set()
        self._is_closing = False
        self._is_offering = True
        self._server_id = unique_id()

    async def Carry(  # type: ignore[override]  # noqa: N802 (a handler may also write for itself)
        self, request_iterator: AsyncIterator[lane_pb2.CarryRequest], context: Context
    ) -> None:
        """Serve one lane until its client ends it, or its time is over."""
        if not self._is_offering:
            return
        machine = context.peer().rpartition(":")[0]
        of_this_one = sum(lane.machine == machine for lane in self._lanes)
        if len(self._lanes) >= _MOST_LANES or of_this_one >= _MOST_LANES_OF_ONE_MACHINE:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "there are enough lanes; let calls go by themselves"
            )
        lane = _ServedLane(self._methods, context, machine)
        self._lanes.add(lane)
        try:
            await self._serve(lane, request_iterator, context)
        finally:
            self._lanes.discard(lane)

    def offer_lanes(self, *, offered: bool) -> None:
        """Whether lanes are wanted here. While they are not, those that are open end in good order and clients open
        theirs to other replicas; calls that go by themselves are answered all the same."""
        self._is_offering = offered
        for lane in () if offered else self._lanes:
            lane.announce_closing()

    async def _serve(
        self, lane: "_ServedLane", requests: AsyncIterator[lane_pb2.CarryRequest], context: Context
    ) -> None:
        await context.write(lane_pb2.CarryResponse(server_id=self._server_id))
        if self._is_closing or not self._is_offering:  # it may have been said while that was written
            lane.announce_closing()
        try:
            async with asyncio.timeout(self._life_seconds):
                await lane.serve(requests)
        except TimeoutError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the lane has served its time; open another")

    def close_lanes(self) -> None:
        """Tell all clients to send no new calls, because the server is about to stop."""
        self._is_closing = True
        for lane in self._lanes:
            lane.announce_closing()


class _ServedLane:
    def __init__(self, methods: LaneMethods, context: Context, machine: str) -> None:
        self._methods = methods
        self._context = context
        self.machine = machine
        """Who opened it, without the port."""
        self._running: dict[int, asyncio.Task[lane_pb2.Outcome]] = {}
        self._unanswered = 0
        self._kept_bytes = 0
        self._overdue: set[int] = set()
        self._has_room = asyncio.Event()
        self._unsent: deque[lane_pb2.Outcome] = deque()
        self._closing_unsent = False
        self._ending = False
        self._wake_sender = asyncio.Event()

    async def serve(self, requests: AsyncIterator[lane_pb2.CarryRequest]) -> None:
        """Serve until the client sends no more and everything is answered."""
        try:
            async with running_in_background(self._send(), "answer the calls of a lane", may_end=True) as sender:
                async for request in requests:
                    await self._take(request)
                if self._running:
                    await asyncio.wait(self._running.values())
                self._ending = True
                self._wake_sender.set()
                await sender
        finally:  # nothing is sent any more: of a lane that breaks, calls may be made again
            await cancel_and_wait(self._running.values())

    def announce_closing(self) -> None:
        """Send word that no new calls are wanted."""
        self._closing_unsent = True
        self._wake_sender.set()

    async def _take(self, request: lane_pb2.CarryRequest) -> None:
        for call_id in request.cancelled_call_ids:
            if call_id in self._running:
                self._running[call_id].cancel()
        for call in request.calls:
            while self._is_full():
                self._has_room.clear()
                await self._has_room.wait()
            await self._start(call)

    def _is_full(self) -> bool:
        return self._unanswered >= _MAXIMUM_UNANSWERED or self._kept_bytes >= _MOST_KEPT_BYTES

    async def _start(self, call: lane_pb2.CarriedCall) -> None:
        if call.call_id in self._running:
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"call_id {call.call_id} is running already")
        self._unanswered += 1
        size = len(call.request)
        self._kept_bytes += size
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._answer(call))
        self._running[call.call_id] = task
        timer = None
        if call.timeout_seconds > 0:
            timer = loop.call_later(call.timeout_seconds, self._end_overdue, call.call_id, task)
        task.add_done_callback(lambda task: self._ended(call, size, task, timer))

    def _end_overdue(self, call_id: int, task: asyncio.Task[lane_pb2.Outcome]) -> None:
        self._overdue.add(call_id)
        task.cancel()

    def _ended(
        self,
        call: lane_pb2.CarriedCall,
        size: int,
        task: asyncio.Task[lane_pb2.Outcome],
        timer: asyncio.TimerHandle | None,
    ) -> None:
        del self._running[call.call_id]
        self._kept_bytes -= size
        is_overdue = call.call_id in self._overdue
        self._overdue.discard(call.call_id)
        if timer is not None:
            timer.cancel()
        if task.cancelled():  # perhaps before it ran at all
            # To a caller whose time is over, not "cancelled": that is what a peer says which stops.
            outcome = (
                _failed(call.call_id, grpc.StatusCode.DEADLINE_EXCEEDED, "the call's time was over")
                if is_overdue
                else _failed(call.call_id, grpc.StatusCode.CANCELLED, "the call was cancelled")
            )
        elif (error := task.exception()) is not None:
            outcome = _failed(call.call_id, grpc.StatusCode.INTERNAL, "internal error")
            log.error("unexpected error in a carried call", method=call.method, exc_info=error)
        else:
            outcome = task.result()
        self._unsent.append(outcome)
        self._wake_sender.set()
        if not self._is_full():
            self._has_room.set()

    async def _answer(self, call: lane_pb2.CarriedCall) -> lane_pb2.Outcome:
        context = LaneContext(call, self._context)
        method = await self._methods.find(call.method)
        if method is None:
            name = call.method[:_SHOWN_METHOD_CHARACTERS]
            return _failed(call.call_id, grpc.StatusCode.UNIMPLEMENTED, f"no unary method {name}")
        try:
            response = await method(call.request, cast("Context", context))
        except grpc.aio.AbortError:
            return lane_pb2.Outcome(call_id=call.call_id, failure=context.failure)
        return lane_pb2.Outcome(call_id=call.call_id, response=response)

    async def _send(self) -> None:
        while True:
            await self._wake_sender.wait()
            self._wake_sender.clear()
            while self._unsent or self._closing_unsent:
                response = lane_pb2.CarryResponse(outcomes=self._next_outcomes(), closing=self._closing_unsent)
                self._closing_unsent = False
                await self._context.write(response)
                self._unanswered -= len(response.outcomes)
                if not self._is_full():
                    self._has_room.set()
            if self._ending:
                return

    def _next_outcomes(self) -> list[lane_pb2.Outcome]:
        outcomes, size = [], 0
        while self._unsent and size < _MESSAGE_BYTES:
            outcomes.append(self._unsent.popleft())
            size += outcomes[-1].ByteSize()
        return outcomes


def _failed(call_id: int, code: grpc.StatusCode, message: str) -> lane_pb2.Outcome:
    return lane_pb2.Outcome(call_id=call_id, failure=lane_pb2.Failure(code=code.value[0], message=message))
