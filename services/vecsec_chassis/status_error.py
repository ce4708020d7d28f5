"""The other way round from `error_status.py`: a peer's status, back to the typed error that it was."""

from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from vecsec_chassis.error_status import DOMAIN
from vecsec_chassis.errors import FieldViolation, Reason, VecSecError

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
