"""Typed errors, each named for the fact. They know no wire: `error_status.py` turns them into gRPC statuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

_SHARD_RETRY_SECONDS = 0.5
_NO_METADATA: Mapping[str, str] = {}


class Reason(StrEnum):
    """Why a call failed: the names of vecsec.type.v1.ErrorReason without their prefix."""

    INVALID_FIELD = "INVALID_FIELD"
    UNKNOWN_TENANT = "UNKNOWN_TENANT"
    INVALID_TOKEN = "INVALID_TOKEN"  # noqa: S105 (a reason, not a password)
    INVALID_GRANT = "INVALID_GRANT"
    ACCESS_DENIED = "ACCESS_DENIED"
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"
    POLICY_UNAVAILABLE = "POLICY_UNAVAILABLE"
    RETRIEVAL_UNAVAILABLE = "RETRIEVAL_UNAVAILABLE"
    REAL_RETRIEVAL_OFF = "REAL_RETRIEVAL_OFF"
    STORE_DAMAGED = "STORE_DAMAGED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    INTERNAL = "INTERNAL"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    KEYS_UNAVAILABLE = "KEYS_UNAVAILABLE"
    WRONG_SHARD = "WRONG_SHARD"
    OVERLOADED = "OVERLOADED"
    TENANT_LIMIT = "TENANT_LIMIT"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field, by its path in the request, such as `documents[3].sensitivity`."""

    field: str
    description: str


class VecSecError(Exception):
    """An error that a caller is told about.

    `message` is public: it holds nothing of another tenant and nothing that the caller could not know.
    `detail` goes to the log only.
    """

    reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] = _NO_METADATA,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.violations = tuple(violations)
        self.retry_after = retry_after
        """Seconds after which another try makes sense; None where it makes none."""
        self.metadata = metadata
        """What programs may want to know of it, by name; public as the message is."""


class InvalidRequest(VecSecError):
    """Fields of the request break a rule."""

    reason = Reason.INVALID_FIELD

    def __init__(self, violations: Sequence[FieldViolation], *, detail: str | None = None) -> None:
        summary = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(summary, violations=violations, detail=detail)

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidRequest":
        """One bad field."""
        return cls([FieldViolation(field, description)])


class UnknownTenant(VecSecError):
    """The tenant is not known to the policy service."""

    reason = Reason.UNKNOWN_TENANT

    def __init__(self, tenant_id: str) -> None:
        description = f"unknown tenant {tenant_id!r}; the policy's tenants file does not list it"
        super().__init__(description, violations=[FieldViolation("tenant_id", description)])


class InvalidToken(VecSecError):
    """No token, or one that does not verify."""

    reason = Reason.INVALID_TOKEN


class InvalidGrant(VecSecError):
    """No grant, or one that does not verify, has expired or is for something else."""

    reason = Reason.INVALID_GRANT


class AccessDenied(VecSecError):
    """The policy does not let this caller do this."""

    reason = Reason.ACCESS_DENIED


class CollectionNotFound(VecSecError):
    """No such collection among those that the caller may read; the same whether it is absent or hidden."""

    reason = Reason.COLLECTION_NOT_FOUND

    def __init__(self, collection_id: str) -> None:
        super().__init__(f"no collection {collection_id!r}; list the collections to see those you may read")


class PolicyUnavailable(VecSecError):
    """The policy service cannot be reached; without it nothing is answered."""

    reason = Reason.POLICY_UNAVAILABLE


class AuditUnavailable(VecSecError):
    """Decisions cannot be recorded, so none are made."""

    reason = Reason.AUDIT_UNAVAILABLE


class KeysUnavailable(VecSecError):
    """The keys of a token's issuer cannot be had, so that nobody knows whether it holds."""

    reason = Reason.KEYS_UNAVAILABLE


class RetrievalUnavailable(VecSecError):
    """The vector store or the retrieval service cannot be reached."""

    reason = Reason.RETRIEVAL_UNAVAILABLE


class RealRetrievalOff(VecSecError):
    """USE_REAL_VECTOR_RETRIEVAL is off for this tenant."""

    reason = Reason.REAL_RETRIEVAL_OFF


class StoreDamaged(VecSecError):
    """A tenant's store cannot be read; nothing was deleted."""

    reason = Reason.STORE_DAMAGED


class LimitExceeded(VecSecError):
    """A limit was reached: a message's size, the room on the disk."""

    reason = Reason.LIMIT_EXCEEDED


class Overloaded(VecSecError):
    """More is asked for than can be served in time; nothing was done for this call."""

    reason = Reason.OVERLOADED


class TenantLimit(VecSecError):
    """The caller's tenant has its share already, while others are served; nothing was done for this call, but for the
    batches of an import that were acknowledged before."""

    reason = Reason.TENANT_LIMIT


class DeadlineExceeded(VecSecError):
    """The caller's deadline passed."""

    reason = Reason.DEADLINE_EXCEEDED


class ShuttingDown(VecSecError):
    """The service is shutting down."""

    reason = Reason.SHUTTING_DOWN


class WrongShard(VecSecError):
    """The tenant belongs to another retrieval service than the one that was asked."""

    reason = Reason.WRONG_SHARD

    def __init__(self, shard: str) -> None:
        message = f"this tenant belongs to shard {shard!r}, which was not asked; try again in a moment"
        super().__init__(message, metadata={"shard": shard}, retry_after=_SHARD_RETRY_SECONDS)


class ConfigurationError(Exception):
    """Settings, or files that they name, cannot be used; the message says which and what to do, in one line.

    At the start it ends the service; later, what was in force stays in force.
    """
