"""Reads the error of a refused call: status, reason, message and the fields that it names."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Refusal:
    """What the caller is told, all of it."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    fields: tuple[str, ...]
    retry_seconds: float | None
    details: bytes
    """The serialized google.rpc.Status, for comparisons byte by byte."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the ErrorInfo."""


async def refusal(call: Awaitable[object]) -> Refusal:
    """The refusal of a call, which must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return read_refusal(raised.value)


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """The refusal in a gRPC error; it must carry exactly one ErrorInfo."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details in {error.code()}: {error.details()}"
    info, fields, retry_seconds = [], (), None
    for packed in status.details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail = error_details_pb2.ErrorInfo()
            packed.Unpack(detail)
            info.append(detail)
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            packed.Unpack(request)
            fields = tuple(violation.field for violation in request.field_violations)
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            packed.Unpack(retry)
            retry_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    assert len(info) == 1, f"{len(info)} ErrorInfo in {status}"
    return Refusal(
        code=error.code(),
        message=status.message,
        reason=info[0].reason,
        domain=info[0].domain,
        fields=fields,
        retry_seconds=retry_seconds,
        details=status.SerializeToString(),
        metadata=dict(info[0].metadata),
    )
