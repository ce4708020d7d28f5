"""Who calls, as the rules see it: a verified identity joined with its role and its tenant."""

from collections.abc import Mapping
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, AttributeValue, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.tenant_limits import GENEROUS, TenantLimits

OWN_ATTRIBUTES = frozenset({"subject", "tenant", "role", "clearance", "groups", "reader_names"})
"""What rules see of every caller under names of our own, and no token can give otherwise."""
MOST_GROUPS = 1_000


@dataclass(frozen=True, slots=True)
class Role:
    """What the callers of one role may do; an entry of the roles file."""

    name: str
    operations: frozenset[Action]
    max_clearance: Sensitivity
    reads_across_tenants: bool = False
    ignores_topic_scope: bool = False
    ignores_clearance: bool = False
    ignores_readers: bool = False
    embeddings_across_tenants: bool = False
    """Whether what is read across tenants may come with embeddings, and be exported. No rule sees it: it is said in the
    grant."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant; an entry of the tenants file."""

    tenant_id: str
    topics: frozenset[str]
    limits: TenantLimits = GENEROUS
    """What its callers may use of what all share."""


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
    groups: tuple[str, ...] = ()
    """All that they belong to, sorted, each once."""
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    """What else the token says that the schema declares, by name, sorted."""

    @property
    def reader_names(self) -> list[str]:
        """By which rows' readers may name them."""
        return [f"user:{self.subject}", *(f"group:{name}" for name in self.groups)]

    @property
    def weight(self) -> int:
        """How much room they take in caches that count callers: those with many groups as much as several others."""
        return 1 + len(self.groups) // 100


def resolve_caller(
    identity: Identity,
    roles: Mapping[str, Role],
    tenants: Mapping[str, Tenant],
    today: int | None = None,
    *,
    groups: tuple[str, ...] = (),
    attributes: tuple[tuple[str, AttributeValue], ...] = (),
) -> Caller:
    """Join an identity with its role and tenant; `groups` are all of theirs, `attributes` those of the token that the
    schema declares.

    Raises:
        UnknownTenant: if the policy does not list the caller's own tenant. It names nothing but the caller's tenant,
            so that it is the same whatever the call asks for.
        AccessDenied: if the policy has no such role; the text does not say which roles there are. If the caller belongs
            to more groups than can be judged.
    """
    tenant = tenants.get(identity.tenant_id)
    if tenant is None:
        raise UnknownTenant(identity.tenant_id)
    role = roles.get(identity.role)
    if role is None:
        raise AccessDenied(f"the policy knows no role {identity.role!r}; ask your issuer for a token with another role")
    if len(groups) > MOST_GROUPS:
        raise AccessDenied(
            f"the caller belongs to {len(groups):,} groups, more than the {MOST_GROUPS:,} that can be judged; have the "
            "issuer leave out those that no rule and no row names"
        )
    clearance = min(identity.clearance, role.max_clearance)
    return Caller(identity.subject, tenant, role, clearance, today, groups, attributes)


def claims_more_than_role_allows(identity: Identity, caller: Caller) -> bool:
    """Whether the token claims a clearance that the caller's role does not reach: a role_clearance_violation."""
    return identity.clearance > caller.role.max_clearance
