"""A channel whose unary calls go over lanes (long-lived streams), or as calls of their own while no lane is open."""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias, cast

import grpc
import structlog

from vecsec.lane.v1 import lane_service_pb2 as lane_pb2
from vecsec.lane.v1.lane_service_pb2_grpc import LaneServiceStub
from vecsec_chassis.background import running_in_background
from vecsec_gateway.transport.cancellation import cancellation_kept

log = structlog.get_logger()

LaneStream: TypeAlias = "grpc.aio.StreamStreamCall[lane_pb2.CarryRequest, lane_pb2.CarryResponse]"
Metadata: TypeAlias = tuple[tuple[str, str], ...]

_STATUS_OF_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
_DETAILS_KEY = "grpc-status-details-bin"
_MESSAGE_BYTES = 1024 * 1024
"""Calls leave together until their requests are so large: a message that the peer finds too large would end the lane,
and with it the calls of all other callers."""
_MAXIMUM_IN_FLIGHT = 128
"""Of one lane; more would wait in the peer, so they become calls of their own, which other replicas may take."""
_LIFE_SECONDS = (10.0, 20.0)
"""A lane is replaced after a random time between these, so that replicas that came later get their share."""
_OPENING_SECONDS = 5.0
_TRIES = 4
"""So many lanes are opened at most to find one to a server that has none."""
_PAUSE_SECONDS = (0.1, 2.0)
"""Before a lane is tried again, growing from the first to the second."""
_SHORT_LIFE_SECONDS = 0.2
"""A lane that does not live longer is as good as none."""


class Lane:
    """Calls over a stream that is open. Calls made in the same moment leave in one message."""

    def __init__(self, stream: LaneStream, server_id: str) -> None:
        self._stream = stream
        self.server_id = server_id
        """Shared by all lanes to one server."""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._unsent: deque[lane_pb2.CarriedCall] = deque()
        self._unsent_cancellations: list[int] = []
        self._wake_sender = asyncio.Event()
        self.retired = asyncio.Event()
        """Set once the lane takes no new calls: it was told so, the peer is about to stop, or it broke."""

    @property
    def calls_in_flight(self) -> int:
        """How many calls wait for their answer."""
        return len(self._waiting)

    async def call(self, method: str, request: bytes, *, seconds: float | None, metadata: Metadata) -> bytes:
        """Make a call that may take so many seconds; if this task is cancelled, so is the call.

        Raises:
            grpc.aio.AioRpcError: with the status that the unary call would have ended with.
        """
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = answer
        carried = lane_pb2.CarriedCall(call_id=number, method=method, timeout_seconds=seconds or 0.0, request=request)
        for key, value in metadata:
            carried.metadata[key] = value
        self._unsent.append(carried)
        self._wake_sender.set()
        timer = None if seconds is None else loop.call_later(seconds, _time_out, answer)
        try:
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting.pop(number, None) is not None:
                self._unsent_cancellations.append(number)
                self._wake_sender.set()
            elif self.retired.is_set():
                self._wake_sender.set()

    def abandon(self) -> None:
        """End a lane that was never used."""
        self._stream.cancel()

    def retire(self) -> None:
        """Take no new calls; the lane ends when those in flight are answered."""
        self.retired.set()
        self._wake_sender.set()

    async def run(self) -> None:
        """Carry calls until the lane is retired and empty, or breaks; calls in flight then fail as UNAVAILABLE."""
        async with running_in_background(self._send(), "send calls over a lane", may_end=True):
            try:
                while isinstance(response := await self._stream.read(), lane_pb2.CarryResponse):
                    for outcome in response.outcomes:
                        self._settle(outcome)
                    if response.closing:
                        self.retire()
            except grpc.aio.AioRpcError as error:
                log.info("a lane to a peer broke", code=error.code().name, detail=error.details())
            finally:
                self.retired.set()
                self._stream.cancel()
                self._fail_all()

    async def _send(self) -> None:
        while not self.retired.is_set() or self._waiting or self._unsent_cancellations:
            await self._wake_sender.wait()
            self._wake_sender.clear()
            while self._unsent or self._unsent_cancellations:
                cancellations, self._unsent_cancellations = self._unsent_cancellations, []
                request = lane_pb2.CarryRequest(calls=self._next_calls(), cancelled_call_ids=cancellations)
                try:
                    await self._stream.write(request)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the reader hears of it too, with the reason
        await self._stream.done_writing()

    def _next_calls(self) -> list[lane_pb2.CarriedCall]:
        """Those to be sent together, without calls that nobody waits for any longer."""
        calls: list[lane_pb2.CarriedCall] = []
        size = 0
        while self._unsent and size < _MESSAGE_BYTES:
            call = self._unsent.popleft()
            if call.call_id in self._waiting:
                calls.append(call)
                size += len(call.request)
        return calls

    def _settle(self, outcome: lane_pb2.Outcome) -> None:
        answer = self._waiting.pop(outcome.call_id, None)
        if answer is None or answer.done():
            return  # its caller did not wait any longer
        if outcome.WhichOneof("result") == "response":
            answer.set_result(outcome.response)
        else:
            answer.set_exception(_error_of(outcome.failure))

    def _fail_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(_error(grpc.StatusCode.UNAVAILABLE, "the lane to the peer broke"))


def _time_out(answer: "asyncio.Future[bytes]") -> None:
    if not answer.done():
        answer.set_exception(_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))


def _error_of(failure: lane_pb2.Failure) -> grpc.aio.AioRpcError:
    code = _STATUS_OF_NUMBER.get(failure.code, grpc.StatusCode.UNKNOWN)
    return _error(code, failure.message, failure.status_details)


def _error(code: grpc.StatusCode, message: str, status_details: bytes = b"") -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata((_DETAILS_KEY, status_details)) if status_details else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=message)


class NoLane(Exception):
    """There is a peer, but no lane to it."""


class LaneChannel:
    """What generated stubs need of a channel.

    Lanes only make calls cheaper: while none is open, because the peer is down, restarting or too old to know of lanes,
    each call goes its own way, as does a call that every lane is too full for.
    """

    def __init__(self, channel: grpc.aio.Channel, connection: Callable[[], object] | None = None) -> None:
        """`connection` says what calls of `channel` go over now, if that changes; then lanes are opened anew."""
        self.calls = channel
        """The channel for calls that are to go by themselves."""
        self._connection = connection or (lambda: channel)
        self._lanes: list[Lane] = []
        self._opening = asyncio.Lock()
        self._lanes_go_over = self._connection()

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        **options: Any,
    ) -> Any:
        """A function that makes calls of a unary method and returns an awaitable of the response."""
        by_itself = self.calls.unary_unary(method, request_serializer, response_deserializer, **options)

        async def call(
            request: Any,
            *,
            timeout: float | None = None,  # noqa: ASYNC109 (gRPC's own name)
            metadata: Metadata = (),
        ) -> Any:
            lane = self._free_lane()
            if lane is None:
                return await by_itself(request, timeout=timeout, metadata=metadata)
            answer = await lane.call(method, request_serializer(request), seconds=timeout, metadata=metadata)
            return response_deserializer(answer)

        return call

    def as_channel(self) -> grpc.aio.Channel:
        """The same, to generated stubs."""
        return cast("grpc.aio.Channel", self)

    def __getattr__(self, name: str) -> Any:
        """Streams and all else are the plain channel's own."""
        return getattr(self.calls, name)

    def _free_lane(self) -> Lane | None:
        if self._connection() is not self._lanes_go_over:
            self._retire_lanes()
        freest, fewest = None, _MAXIMUM_IN_FLIGHT
        for lane in self._lanes:
            # One that broke is still among them until its keeper has had its turn; nothing would answer a call on it.
            in_flight = lane.calls_in_flight
            if in_flight < fewest and not lane.retired.is_set():
                freest, fewest = lane, in_flight
        if freest is not None:
            # To the end, so that all get their share of the calls.
            self._lanes.remove(freest)
            self._lanes.append(freest)
        return freest

    def _retire_lanes(self) -> None:
        self._lanes_go_over = self._connection()
        left, self._lanes = self._lanes, []
        for lane in left:
            lane.retire()

    @asynccontextmanager
    async def keeping_lanes(self, count: int) -> AsyncIterator[None]:
        """Keep so many lanes open, if the peer can be reached, until the block ends."""
        async with AsyncExitStack() as stack:
            for _ in range(count):
                await stack.enter_async_context(running_in_background(self._keep_lane(), "keep a lane open"))
            yield

    async def _keep_lane(self) -> None:
        pause = _PAUSE_SECONDS[0]
        async with asyncio.TaskGroup() as running:
            while True:
                started = time.monotonic()
                try:
                    await self._open_and_use_one(running)
                except (NoLane, grpc.aio.AioRpcError, TimeoutError) as error:
                    log.debug("no lane to the peer, calls go by themselves", error=str(error))
                if time.monotonic() - started > _SHORT_LIFE_SECONDS:
                    pause = _PAUSE_SECONDS[0]
                else:
                    await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 (no secret)
                    pause = min(pause * 2, _PAUSE_SECONDS[1])

    async def _open_and_use_one(self, running: asyncio.TaskGroup) -> None:
        connection = self._connection()
        lane = await self._opened()
        running.create_task(lane.run())
        if connection is self._lanes_go_over:
            await self._use(lane)
        else:
            lane.retire()

    async def _opened(self) -> Lane:
        """A lane to a server that no other lane goes to, if a few tries find one; else to one that few go to.

        The channel hands its servers out in turn, and does not say which.
        """
        async with self._opening:
            chosen = await self._open()
            for _ in range(_TRIES - 1):
                if not self._lanes_to(chosen.server_id):
                    break
                try:
                    other = await self._open()
                except (NoLane, grpc.aio.AioRpcError, TimeoutError):
                    break  # one there is
                if self._lanes_to(other.server_id) < self._lanes_to(chosen.server_id):
                    chosen, other = other, chosen
                other.abandon()
        return chosen

    def _lanes_to(self, server_id: str) -> int:
        return sum(lane.server_id == server_id for lane in self._lanes)

    async def _open(self) -> Lane:
        stream = LaneServiceStub(self.calls).Carry()
        try:
            with cancellation_kept():
                async with asyncio.timeout(_OPENING_SECONDS):
                    first = await stream.read()
        except BaseException:
            stream.cancel()
            raise
        if not isinstance(first, lane_pb2.CarryResponse):
            raise NoLane("the peer ended the lane as soon as it was open")
        return Lane(stream, first.server_id)

    async def _use(self, lane: Lane) -> None:
        self._lanes.append(lane)
        try:
            async with asyncio.timeout(random.uniform(*_LIFE_SECONDS)):  # noqa: S311
                await lane.retired.wait()
        except TimeoutError:
            lane.retire()
        finally:
            if lane in self._lanes:
                self._lanes.remove(lane)
