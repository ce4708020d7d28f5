"""What callers do, and what the policy says of it."""

from dataclasses import dataclass
from enum import StrEnum

from vecsec_chassis.domain.labels import Sensitivity


class Action(StrEnum):
    """What a caller wants to do with rows; the names are those of the Cedar schema."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    CONFIGURE = "configure"


class ViolationType(StrEnum):
    """What kind of rule was broken; the values are metric labels and log words."""

    CROSS_TENANT = "cross_tenant_violation"
    DOCUMENT_TENANT = "document_tenant_violation"
    CLEARANCE = "clearance_violation"
    ROLE_CLEARANCE = "role_clearance_violation"
    TOPIC = "topic_violation"
    PLAN_CHECK_DIVERGENCE = "plan_check_divergence"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, from a verified token and from nothing else."""

    subject: str
    tenant_id: str
    role: str
    clearance: Sensitivity
    """What the token claims; the role may allow less."""
    issuer: str
    expires_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the policy service lets a caller do in one tenant, until `expires_at`."""

    subject: str
    caller_tenant_id: str
    role: str
    tenant_id: str
    """The tenant whose cell may be touched."""
    action: Action
    residual: str
    """The rules specialised to this caller, tenant and action: a Cedar policy set in Cedar's JSON format with the
    document as its only unknown (`{"Var": "resource"}`)."""
    may_configure: bool
    """Whether the caller's role may configure this tenant (embeddings are only for those)."""
    policy_version: str
    expires_at: float
    """Seconds since the epoch."""
