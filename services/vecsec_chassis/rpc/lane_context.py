"""The context of a call that came over a lane: what interceptors and handlers ask of a unary call's context."""

import time
from typing import Any, NamedTuple, NoReturn, cast

import grpc

from vecsec.lane.v1 import lane_service_pb2 as lane_pb2
from vecsec_chassis.rpc.interception import Context

_DETAILS_KEY = "grpc-status-details-bin"


class Metadatum(NamedTuple):
    """One entry of a call's metadata."""

    key: str
    value: str


class CarriedContext:
    """Answers for one call; whatever concerns the connection is asked of the stream that carries it."""

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


def as_context(context: CarriedContext) -> Context:
    """The same context, to whoever expects gRPC's own, of which it has the parts that unary calls need."""
    return cast("Context", context)
