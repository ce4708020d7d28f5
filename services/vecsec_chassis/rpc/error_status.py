"""How a typed error looks on the wire: a status with one ErrorInfo, and BadRequest or RetryInfo where they help; and a
peer's status back to the typed error that it was."""

from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from vecsec.type.v1 import batch_pb2, error_reason_pb2
from vecsec_chassis.domain.errors import FieldViolation, Reason, VecSecError

DOMAIN = "vecsec"

_REPORTED_VIOLATIONS = 20
_FIELD_CHARACTERS = 160
_TEXT_CHARACTERS = 1000
"""Errors travel in trailers, of which gRPC takes 16 KiB: a longer error would arrive as another one."""

STATUS_OF_REASON: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_TENANT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_TOKEN: grpc.StatusCode.UNAUTHENTICATED,
    Reason.INVALID_GRANT: grpc.StatusCode.UNAUTHENTICATED,
    Reason.ACCESS_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.COLLECTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.POLICY_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.RETRIEVAL_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.REAL_RETRIEVAL_OFF: grpc.StatusCode.UNAVAILABLE,
    Reason.STORE_DAMAGED: grpc.StatusCode.DATA_LOSS,
    Reason.LIMIT_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.AUDIT_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.KEYS_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.WRONG_SHARD: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.TENANT_LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def error_status(error: VecSecError) -> status_pb2.Status:
    """The google.rpc.Status of an error; its detail, which is for the log, is not in it."""
    message = shortened(error.message, _TEXT_CHARACTERS)
    status = status_pb2.Status(code=STATUS_OF_REASON[error.reason].value[0], message=message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata))
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=shortened(violation.field, _FIELD_CHARACTERS),
                description=shortened(violation.description, _FIELD_CHARACTERS),
            )
            for violation in error.violations[:_REPORTED_VIOLATIONS]
        ]
        _add(status, error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def query_error_to_proto(error: VecSecError) -> batch_pb2.QueryError:
    """The same for one query of a batch, of which the others are answered."""
    return batch_pb2.QueryError(
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason.value}"),
        message=shortened(error.message, _TEXT_CHARACTERS),
        violations=[
            batch_pb2.QueryError.FieldViolation(
                field=shortened(each.field, _FIELD_CHARACTERS),
                description=shortened(each.description, _FIELD_CHARACTERS),
            )
            for each in error.violations[:_REPORTED_VIOLATIONS]
        ],
    )


def shortened(text: str, characters: int) -> str:
    """The text, cut where it is longer than so many characters."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _add(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


_STATUS_KEY = "grpc-status-details-bin"

Detail = TypeVar("Detail", bound=Message)


# Direct subclasses only: further ones, such as a service's own distinctions, share a reason with their parent.
_ERROR_OF_REASON: dict[Reason, type[VecSecError]] = {
    Reason.INTERNAL: VecSecError,
    **{kind.reason: kind for kind in VecSecError.__subclasses__()},
}


def error_from_rpc(rpc_error: grpc.aio.AioRpcError) -> VecSecError | None:
    """The typed error that a VecSec service raised, with its public text, bad fields and retry advice.

    None if no VecSec service said it: the transport did, or a stranger.
    """
    status = _status_of(rpc_error)
    if status is None:
        return None
    info = _detail(status, error_details_pb2.ErrorInfo)
    if info is None or info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    kind = _ERROR_OF_REASON[Reason[info.reason]]
    # The constructors of subclasses word their own texts; here the text is already worded.
    error = kind.__new__(kind)
    VecSecError.__init__(
        error,
        status.message,
        violations=_violations(status),
        retry_after=_retry_after(status),
        metadata=dict(info.metadata),
    )
    return error


def _status_of(rpc_error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in rpc_error.trailing_metadata() or ():
        if key == _STATUS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            detail = kind()
            packed.Unpack(detail)
            return detail
    return None


def _violations(status: status_pb2.Status) -> list[FieldViolation]:
    bad_request = _detail(status, error_details_pb2.BadRequest)
    if bad_request is None:
        return []
    return [FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations]


def _retry_after(status: status_pb2.Status) -> float | None:
    retry_info = _detail(status, error_details_pb2.RetryInfo)
    return None if retry_info is None else float(retry_info.retry_delay.ToNanoseconds()) / 1e9
