"""Who calls, as the rules see it: a verified identity joined with its role and its tenant."""

from collections.abc import Mapping
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import Sensitivity


@dataclass(frozen=True, slots=True)
class Role:
    """What the callers of one role may do; an entry of the roles file."""

    name: str
    operations: frozenset[Action]
    max_clearance: Sensitivity
    reads_across_tenants: bool = False
    ignores_topic_scope: bool = False
    ignores_clearance: bool = False


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant; an entry of the tenants file."""

    tenant_id: str
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Everything about a caller that a rule may depend on."""

    subject: str
    tenant: Tenant
    role: Role
    clearance: Sensitivity
    """The effective one: the lower of what the token claims and what the role allows."""
    today: int | None = None
    """The day on which they ask, as `utc_day.day_of` writes it. Where it is unknown, a rule that asks for it fails, and
    so refuses."""


def resolve_caller(
    identity: Identity, roles: Mapping[str, Role], tenants: Mapping[str, Tenant], today: int | None = None
) -> Caller:
    """Join an identity with its role and tenant.

    Raises:
        UnknownTenant: if the policy does not list the caller's own tenant. It names nothing but the caller's tenant,
            so that it is the same whatever the call asks for.
        AccessDenied: if the policy has no such role; the text does not say which roles there are.
    """
    tenant = tenants.get(identity.tenant_id)
    if tenant is None:
        raise UnknownTenant(identity.tenant_id)
    role = roles.get(identity.role)
    if role is None:
        raise AccessDenied(f"the policy knows no role {identity.role!r}; ask your issuer for a token with another role")
    return Caller(identity.subject, tenant, role, min(identity.clearance, role.max_clearance), today)


def claims_more_than_role_allows(identity: Identity, caller: Caller) -> bool:
    """Whether the token claims a clearance that the caller's role does not reach: a role_clearance_violation."""
    return identity.clearance > caller.role.max_clearance
