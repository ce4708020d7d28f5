"""What a caller got, as it is counted: an answer, made-up rows, or an error, and for which reason.

Pure. Statuses alone do not say it: a mock ends as OK, and one status stands for outages of different services.
"""

import grpc

from vecsec_chassis.domain.errors import Reason
from vecsec_chassis.rpc.error_status import STATUS_OF_REASON

ANSWERED, MOCK, UNAVAILABLE, REFUSED, FAILED, CANCELLED = (
    "answered",
    "mock",
    "unavailable",
    "refused",
    "failed",
    "cancelled",
)
"""The outcomes: refused is the caller's to mend, unavailable and failed are ours, cancelled is the caller's doing."""

_OUTAGES = frozenset({grpc.StatusCode.UNAVAILABLE})
_FAULTS = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


def outcome_of(code: grpc.StatusCode) -> str:
    """What a call that ended with this status was to its caller; a mock is told by its handler."""
    if code is grpc.StatusCode.OK:
        return ANSWERED
    if code is grpc.StatusCode.CANCELLED:
        return CANCELLED
    if code in _OUTAGES:
        return UNAVAILABLE
    return FAILED if code in _FAULTS else REFUSED


def expected_failures() -> list[tuple[str, str]]:
    """Outcome and reason of every error that we raise: their series are there before the first of them."""
    return [(outcome_of(STATUS_OF_REASON[reason]), reason.value) for reason in Reason]
