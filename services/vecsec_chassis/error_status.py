"""How a typed error looks on the wire: a status with one ErrorInfo, and BadRequest or RetryInfo where they help."""

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from vecsec_chassis.errors import Reason, VecSecError

DOMAIN = "vecsec"

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
}


def error_status(error: VecSecError) -> status_pb2.Status:
    """The google.rpc.Status of an error; its detail, which is for the log, is not in it."""
    status = status_pb2.Status(code=STATUS_OF_REASON[error.reason].value[0], message=error.message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN))
    if error.violations:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ]
        _add(status, error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _add(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)
