"""A peer's status as the error that the gateway acts on and that its caller sees."""

import grpc

from vecsec_chassis.domain.errors import LimitExceeded, PolicyUnavailable, Reason, RetrievalUnavailable, VecSecError
from vecsec_chassis.rpc.error_status import error_from_rpc
from vecsec_gateway.peers.contract import PolicyTimedOut, RetrievalTimedOut

_TRANSPORT_FAILURES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""Statuses of calls that the peer did not finish: it is gone, or it was stopped in the middle."""
_BROKEN_HERE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
"""What grpc.aio itself says of a stream that can no longer be written to or read, as when the peer has just gone."""
_STOPPING = frozenset({Reason.SHUTTING_DOWN})
_TIMED_OUT = frozenset({Reason.DEADLINE_EXCEEDED})


def policy_error(rpc_error: grpc.aio.AioRpcError) -> VecSecError:
    """What a failed call to the policy service means."""
    said = error_from_rpc(rpc_error)
    detail = _detail("policy", rpc_error)
    if _is_timeout(rpc_error, said):
        return PolicyTimedOut(
            "the policy service did not answer in time, and without it nothing is answered",
            detail=detail,
        )
    if _is_gone(rpc_error, said):
        return PolicyUnavailable(
            "the policy service cannot be reached, and without it nothing is answered",
            detail=detail,
        )
    return said or _foreign_error("policy", rpc_error)


def retrieval_error(rpc_error: grpc.aio.AioRpcError) -> VecSecError:
    """What a failed call to the retrieval service means."""
    said = error_from_rpc(rpc_error)
    detail = _detail("retrieval", rpc_error)
    if _is_timeout(rpc_error, said):
        return RetrievalTimedOut("the retrieval service did not answer in time", detail=detail)
    if _is_gone(rpc_error, said):
        return RetrievalUnavailable("the retrieval service cannot be reached", detail=detail)
    return said or _foreign_error("retrieval", rpc_error)


def _is_timeout(rpc_error: grpc.aio.AioRpcError, said: VecSecError | None) -> bool:
    return rpc_error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or (said is not None and said.reason in _TIMED_OUT)


def _is_gone(rpc_error: grpc.aio.AioRpcError, said: VecSecError | None) -> bool:
    if said is None:
        return rpc_error.code() in _TRANSPORT_FAILURES or (rpc_error.code(), rpc_error.details()) == _BROKEN_HERE
    return said.reason in _STOPPING


def _foreign_error(peer: str, rpc_error: grpc.aio.AioRpcError) -> VecSecError:
    """An error without a reason of ours: the transport's, or of something else that listens at that address."""
    detail = _detail(peer, rpc_error)
    if rpc_error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return LimitExceeded("the answer is too large for one message; ask for fewer documents", detail=detail)
    return VecSecError(f"internal error: the {peer} service gave no valid answer", detail=detail)


def _detail(peer: str, rpc_error: grpc.aio.AioRpcError) -> str:
    return f"{peer}: {rpc_error.code().name}: {rpc_error.details()}"
