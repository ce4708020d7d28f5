"""What callers do, and what the policy says of it."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from vecsec_chassis.domain.caller_sets import NO_SETS, CallerSets
from vecsec_chassis.domain.label_schema import LabelSchema
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.tenant_limits import StorageLimits


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


AttributeValue: TypeAlias = str | int | bool | tuple[str, ...]
"""What a rule can compare."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, from a verified token and from nothing else."""

    subject: str
    """Of one caller alone: with its issuer in it, unless that is the first of the issuers file."""
    tenant_id: str
    role: str
    clearance: Sensitivity
    """What the token claims; the role may allow less."""
    issuer: str
    expires_at: float
    """Seconds since the epoch."""
    groups: tuple[str, ...] = ()
    """To which the token says that the caller belongs: sorted, each once."""
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    """What else the token says of the caller, by name, sorted; its issuer is among them."""
    actors: tuple[str, ...] = ()
    """Who acts in the caller's name, the latest first; for the record, they give no rights."""

    def __post_init__(self) -> None:
        """Callers of a tenant share groups: a name is kept once, however many belong to it."""
        if self.groups:
            object.__setattr__(self, "groups", tuple(map(sys.intern, self.groups)))


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
    """Whether the caller's role may configure this tenant, and have embeddings of its rows: across tenants that is
    another right."""
    policy_version: str
    expires_at: float
    """Seconds since the epoch."""
    sets: CallerSets = NO_SETS
    """Those of the caller that the residual asks for, as `context.<name>`."""
    label_schema: LabelSchema | None = None
    """What rows may carry by the policy's schema; a row that carries anything else is for nobody. None in grants of
    policy services of earlier versions, which did not say it; the check says it then."""
    storage: StorageLimits | None = None
    """How much the tenant may store, in a grant to write; None in those of policy services that knew of no limits."""

    @property
    def crosses_tenants(self) -> bool:
        """Whether it is for a caller of another tenant."""
        return self.caller_tenant_id != self.tenant_id
