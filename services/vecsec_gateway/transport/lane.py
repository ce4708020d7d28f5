"""One lane to a peer: many unary calls over one long-lived stream."""

import asyncio
import itertools
from collections import deque
from typing import TypeAlias

import grpc
import structlog

from vecsec.lane.v1 import lane_service_pb2 as lane_pb2
from vecsec_chassis.background import running_in_background

log = structlog.get_logger()

LaneStream: TypeAlias = "grpc.aio.StreamStreamCall[lane_pb2.CarryRequest, lane_pb2.CarryResponse]"
Metadata: TypeAlias = tuple[tuple[str, str], ...]

_STATUS_OF_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
_DETAILS_KEY = "grpc-status-details-bin"
_MESSAGE_BYTES = 1024 * 1024
"""Calls leave together until their requests are so large: a message that the peer finds too large would end the lane,
and with it the calls of all other callers."""


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
