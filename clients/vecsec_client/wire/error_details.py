"""From a failed call on the wire to a typed error."""

from collections.abc import Callable
from functools import partial
from typing import cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from vecsec_client import errors
from vecsec_client.errors import FieldViolation, VecSecError
from vecsec_client.values import MockReason

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "vecsec"

_ERROR_OF_STATUS: dict[grpc.StatusCode, type[VecSecError]] = {
    kind.status: kind
    for kind in (
        errors.InvalidArgument,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.Unavailable,
        errors.ResourceExhausted,
        errors.DeadlineExceeded,
        errors.DataLoss,
        errors.Internal,
    )
}

WRONG_SHARD = "WRONG_SHARD"
_MOCK_REASON_OF_REASON = {
    "REAL_RETRIEVAL_OFF": MockReason.FLAG_OFF,
    "RETRIEVAL_UNAVAILABLE": MockReason.RETRIEVAL_FAILED,
}
_ENDED_HERE = frozenset({"Channel closed!", "Locally cancelled by application!"})
"""What grpc says of calls that were cancelled on this side."""
_BROKEN_HERE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
"""What grpc.aio itself says of a stream that can no longer be written to or read, as when the gateway has just gone."""


def from_rpc_error(error: grpc.RpcError, request_id: str) -> VecSecError:
    """The typed error of a failed call, with what the service said about it."""
    call = cast("grpc.Call", error)  # those of grpc.aio have the same methods; all may give None
    status = _status(call)
    code = call.code()
    reason, violations, retry_after = "", [], None
    info, bad_request, retry_info = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    if _find(status, info) and info.domain == _DOMAIN:
        reason = info.reason
    if _find(status, bad_request):
        violations = [FieldViolation(each.field, each.description) for each in bad_request.field_violations]
    if _find(status, retry_info):
        retry_after = max(0.0, retry_info.retry_delay.ToTimedelta().total_seconds())
    message = call.details() or f"the call failed with status {code.name}"
    if (code, message) == _BROKEN_HERE:
        return errors.ConnectionBroke("the connection to the gateway broke", request_id=request_id)
    if code is grpc.StatusCode.CANCELLED and message not in _ENDED_HERE:
        # A gateway that stops says so of calls that it has not begun, or not ended within its grace time.
        code, message = grpc.StatusCode.UNAVAILABLE, "the gateway stopped before it answered"
    if reason == WRONG_SHARD:
        # Between services it is a precondition that failed. To callers the tenant cannot be reached for a moment.
        code = grpc.StatusCode.UNAVAILABLE
    kind: Callable[..., VecSecError] = _ERROR_OF_STATUS.get(code, VecSecError)
    if code is grpc.StatusCode.UNAVAILABLE and reason in _MOCK_REASON_OF_REASON:
        is_open = info.metadata.get("circuit") == "open"
        why = MockReason.CIRCUIT_OPEN if is_open else _MOCK_REASON_OF_REASON[reason]
        kind = partial(errors.RealRetrievalUnavailable, mock_reason=why)
    return kind(
        message, code=code, reason=reason, violations=violations, retry_after=retry_after, request_id=request_id
    )


def _status(call: grpc.Call) -> status_pb2.Status:
    """The google.rpc.Status that came along; an empty one if there is none that can be read and fits the call's."""
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if status.code == call.code().value[0]:
                return status
    return status_pb2.Status()


def _find(status: status_pb2.Status, wanted: Message) -> bool:
    """Fill `wanted` from the status's details, if one of its kind is among them and can be read."""
    try:
        return any(detail.Is(wanted.DESCRIPTOR) and detail.Unpack(wanted) for detail in status.details)
    except DecodeError:
        return False
