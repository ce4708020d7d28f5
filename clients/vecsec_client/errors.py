"""Typed errors, one class a gRPC status, so that callers can catch the kind they can do something about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from grpc import StatusCode

from vecsec_client.results import RejectedDocument
from vecsec_client.values import MockReason


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field, by its path in the request, such as `documents[3].sensitivity`."""

    field: str
    description: str


_LOST = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED})
_NOT_SENT = (
    "failed to connect",
    "connections to all backends failing",
    "errors resolving",
    "DNS resolution failed",
    "empty address list",
)
"""What gRPC says where there was no connection to send a call on; it has no other sign of that."""


class VecSecError(Exception):
    """A call failed. Catch the subclasses for the kinds that differ in what to do.

    Nothing else comes out of a client's calls, but for what the caller's own functions raise: token providers, and
    iterables of documents.
    """

    status: ClassVar[StatusCode] = StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: StatusCode | None = None,
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.status if code is None else code
        """The gRPC status."""
        self.reason = reason
        """Which fact, by the names of `vecsec.type.v1.ErrorReason` without their prefix; empty where the transport or
        the SDK itself failed, for then no service has spoken."""
        self.violations = tuple(violations)
        """The bad fields."""
        self.retry_after = retry_after
        """Seconds after which the service advises another try; None where it gives no advice."""
        self.request_id = request_id
        """The id under which the services' logs have this call; empty if nothing was sent."""

    def __str__(self) -> str:
        return f"{self.message} (request {self.request_id})" if self.request_id else self.message

    @property
    def is_unexplained(self) -> bool:
        """Whether the stream broke inside of gRPC or a proxy; a fault of the services themselves has a reason."""
        return self.code is StatusCode.INTERNAL and not self.reason

    @property
    def is_answer_lost(self) -> bool:
        """Whether the call may have been carried out all the same: it was sent, and no service said why it failed."""
        return not self.reason and self.code in _LOST and not self.message.startswith(_NOT_SENT)


class InvalidArgument(VecSecError):
    """Fields of the request break a rule; `violations` names them. Nothing was done."""

    status = StatusCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidArgument":
        """One bad field, found before anything was sent."""
        return cls(f"{field}: {description}", violations=[FieldViolation(field, description)])


class Unauthenticated(VecSecError):
    """No token, or one that does not verify."""

    status = StatusCode.UNAUTHENTICATED


class PermissionDenied(VecSecError):
    """The policy does not let this caller do this. The same whether or not the thing exists."""

    status = StatusCode.PERMISSION_DENIED


class NotFound(VecSecError):
    """No such thing among those the caller may read."""

    status = StatusCode.NOT_FOUND


class Unavailable(VecSecError):
    """A service cannot be reached, or real retrieval is off and no mock was wanted; a later try may work."""

    status = StatusCode.UNAVAILABLE


class RealRetrievalUnavailable(Unavailable):
    """Nothing real can be had, and made-up rows were not asked for; `mock_reason` says why.

    A search with `allow_mock=True` gets made-up rows instead, labelled as such. Other calls are never made up.
    """

    def __init__(
        self,
        message: str,
        *,
        mock_reason: MockReason = MockReason.UNSPECIFIED,
        code: StatusCode | None = None,
        reason: str = "",
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(
            message,
            code=code,
            reason=reason,
            violations=violations,
            retry_after=retry_after,
            request_id=request_id,
        )
        self.mock_reason = mock_reason
        """`FLAG_OFF`: an operator has switched real retrieval off for the tenant; until it is on again no try helps.
        `RETRIEVAL_FAILED`: it did not answer. `CIRCUIT_OPEN`: it failed a moment ago and was not asked."""


class ConnectionBroke(Unavailable):
    """The connection to the gateway broke under the call: the gateway has gone, or it refused while we were writing."""

    @property
    def is_unexplained(self) -> bool:
        return True


class ResourceExhausted(VecSecError):
    """A limit was reached: calls, the size of a message, the room on the disk."""

    status = StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(VecSecError):
    """The answer did not come within the timeout."""

    status = StatusCode.DEADLINE_EXCEEDED


class DataLoss(VecSecError):
    """The tenant's store cannot be read; nothing was deleted, and other tenants are not affected."""

    status = StatusCode.DATA_LOSS


class Internal(VecSecError):
    """A fault of the services; their logs have the details under `request_id`."""

    status = StatusCode.INTERNAL


class DocumentsRejected(VecSecError):
    """A strict import met documents that cannot be stored; those of earlier progress are stored."""

    status = StatusCode.INVALID_ARGUMENT

    def __init__(self, rejected: Sequence[RejectedDocument], *, code: StatusCode | None = None) -> None:
        first = rejected[0]
        message = f"document {first.index} ({first.document_id!r}): {first.field}: {first.reason}"
        super().__init__(message, code=code)
        self.args = (tuple(rejected),)  # what copies, as between processes, are made of
        self.rejected = tuple(rejected)
        """The documents of one batch that were refused, in the caller's order."""
