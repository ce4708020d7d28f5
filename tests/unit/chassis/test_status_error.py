"""An error that went over the wire is the error that it was."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest, Reason, VecSecError
from vecsec_chassis.rpc.error_status import error_from_rpc, error_status


def rpc_error(status: status_pb2.Status | bytes) -> grpc.aio.AioRpcError:
    content = status if isinstance(status, bytes) else status.SerializeToString()
    return grpc.aio.AioRpcError(
        grpc.StatusCode.UNKNOWN,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(("grpc-status-details-bin", content)),
    )


@pytest.mark.parametrize("kind", [VecSecError, *VecSecError.__subclasses__()], ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_itself(kind: type[VecSecError]) -> None:
    sent = kind.__new__(kind)
    VecSecError.__init__(
        sent,
        "what happened",
        detail="for the log",
        violations=[FieldViolation("k", "must be at least 1"), FieldViolation("query", "must not be blank")],
        retry_after=1.5,
    )
    received = error_from_rpc(rpc_error(error_status(sent)))
    assert received is not None
    assert type(received) is kind
    assert (received.message, received.violations, received.retry_after) == (
        sent.message,
        sent.violations,
        sent.retry_after,
    )
    assert received.detail is None
    assert error_status(received) == error_status(sent)


def test_every_reason_has_an_error() -> None:
    assert {kind.reason for kind in [VecSecError, *VecSecError.__subclasses__()]} == set(Reason)


def test_no_advice_stays_no_advice() -> None:
    received = error_from_rpc(rpc_error(error_status(InvalidRequest.of("k", "too large"))))
    assert received is not None
    assert received.retry_after is None


def foreign(reason: str, domain: str) -> status_pb2.Status:
    status = status_pb2.Status(code=5, message="nothing here")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return status


@pytest.mark.parametrize(
    "status",
    [
        b"\xff\xff",
        b"",
        status_pb2.Status(code=5, message="no details"),
        foreign("ACCESS_DENIED", "googleapis.com"),
        foreign("NO_SUCH_REASON", "vecsec"),
    ],
)
def test_what_no_vecsec_service_said_is_not_taken_for_it(status: status_pb2.Status | bytes) -> None:
    assert error_from_rpc(rpc_error(status)) is None


def test_an_error_without_trailers_is_the_transports() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, initial_metadata=grpc.aio.Metadata(), trailing_metadata=grpc.aio.Metadata()
    )
    assert error_from_rpc(error) is None
