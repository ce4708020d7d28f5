"""A peer's status as the error that the gateway acts on and that its caller sees."""

import grpc

from vecsec_chassis.domain.errors import LimitExceeded, PolicyUnavailable, Reason, VecSecError
from vecsec_chassis.rpc.error_status import error_from_rpc
from vecsec_gateway.peers.contract import PolicyTimedOut, RetrievalGone, RetrievalTimedOut

_TRANSPORT_FAILURES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""Statuses of calls that the peer did not finish: it is gone, or it was stopped in the middle."""
_BROKEN_HERE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
"""What grpc.aio itself says of a stream that can no longer be written to or read, as when the peer has just gone."""
_NOT_SENT = (
    "failed to connect",
    "connections to all backends failing",
    "errors resolving",
    "DNS resolution failed",
    "empty address list",
)
"""What gRPC says where there was no connection to send a call on; it has no other sign of that."""
_STOPPING = frozenset({Reason.SHUTTING_DOWN})
_TIMED_OUT = frozenset({Reason.DEADLINE_EXCEEDED})


def policy_error(rpc_error: grpc.aio.AioRpcError) -> VecSecError:
    """What a failed call to the policy service means."""
    without = ", and without it nothing is answered"
    return _meaning("policy", rpc_error, timed_out=PolicyTimedOut, gone=PolicyUnavailable, consequence=without)


def retrieval_error(rpc_error: grpc.aio.AioRpcError) -> VecSecError:
    """What a failed call to the retrieval service means."""
    return _meaning("retrieval", rpc_error, timed_out=RetrievalTimedOut, gone=RetrievalGone)


def is_answer_lost(error: BaseException) -> bool:
    """Whether a try that failed with this may have been carried out: it was sent, and the peer gave no reason but that
    time ran out."""
    cause = error.__cause__
    if isinstance(error, RetrievalTimedOut):
        return True
    if not isinstance(error, RetrievalGone) or not isinstance(cause, grpc.aio.AioRpcError):
        return False
    return error_from_rpc(cause) is None and not (cause.details() or "").startswith(_NOT_SENT)


def _meaning(
    peer: str,
    rpc_error: grpc.aio.AioRpcError,
    *,
    timed_out: type[VecSecError],
    gone: type[VecSecError],
    consequence: str = "",
) -> VecSecError:
    said = error_from_rpc(rpc_error)
    detail = f"{peer}: {rpc_error.code().name}: {rpc_error.details()}"
    if _is_timeout(rpc_error, said):
        return timed_out(f"the {peer} service did not answer in time{consequence}", detail=detail)
    if _is_gone(rpc_error, said):
        return gone(f"the {peer} service cannot be reached{consequence}", detail=detail)
    if said is not None:
        return said
    # Without a reason of ours it is the transport's, or of something else that listens at that address.
    if rpc_error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return LimitExceeded("the answer is too large for one message; ask for fewer documents", detail=detail)
    return VecSecError(f"internal error: the {peer} service gave no valid answer", detail=detail)


def _is_timeout(rpc_error: grpc.aio.AioRpcError, said: VecSecError | None) -> bool:
    return rpc_error.code() is grpc.StatusCode.DEADLINE_EXCEEDED or (said is not None and said.reason in _TIMED_OUT)


def _is_gone(rpc_error: grpc.aio.AioRpcError, said: VecSecError | None) -> bool:
    if said is None:
        return rpc_error.code() in _TRANSPORT_FAILURES or (rpc_error.code(), rpc_error.details()) == _BROKEN_HERE
    return said.reason in _STOPPING
