"""What a peer's status means: one that is gone may come back, one that gives no valid answer is a fault."""

import grpc
import pytest

from vecsec_chassis.domain.errors import PolicyUnavailable, Reason, RetrievalUnavailable
from vecsec_gateway.peers.status import policy_error, retrieval_error


def failed(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
    ],
)
def test_a_peer_that_has_gone_may_come_back(code: grpc.StatusCode, details: str) -> None:
    assert isinstance(retrieval_error(failed(code, details)), RetrievalUnavailable)
    assert isinstance(policy_error(failed(code, details)), PolicyUnavailable)


def test_any_other_internal_error_is_a_fault() -> None:
    error = failed(grpc.StatusCode.INTERNAL, "internal error")
    assert retrieval_error(error).reason is policy_error(error).reason is Reason.INTERNAL
