"""How a call ended, on its span, by OpenTelemetry's conventions for gRPC.

The instrumentation of grpc.aio sees `abort` and not `abort_with_status`, by which our errors end: it would call every
denied call OK.
"""

import grpc
from opentelemetry.trace import Span, Status, StatusCode

STATUS_CODE = "rpc.grpc.status_code"

_ERRORS_OF_THE_SERVER = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def record_served(span: Span, code: grpc.StatusCode, reason: str) -> None:
    """How a call ended that was served; what the caller has to mend, such as a denial, is no error of the server's."""
    span.set_attribute(STATUS_CODE, code.value[0])
    if reason:
        span.set_attribute("vecsec.reason", reason)
    if code in _ERRORS_OF_THE_SERVER:
        span.set_status(Status(StatusCode.ERROR, reason or code.name))


def record_called(span: Span, code: grpc.StatusCode) -> None:
    """How a call ended that was made; anything but OK is an error to whoever made it."""
    span.set_attribute(STATUS_CODE, code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(Status(StatusCode.ERROR, code.name))


def named(method: str) -> dict[str, str]:
    """The attributes by which a call is found, of its method's full name with or without a slash before it."""
    service, _, name = method.lstrip("/").rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
