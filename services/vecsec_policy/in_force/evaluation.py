"""Decides, and does nothing else: no counting, no record, no memory. The service's use cases and the commands of
`vecsec policy` stand on it alike, so that what is tried out at a desk is what the service does."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import UnknownTenant
from vecsec_chassis.domain.labels import Label
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.folder.principals import Caller, Tenant, resolve_caller
from vecsec_policy.in_force.snapshot import PolicySnapshot


@dataclass(frozen=True, slots=True, eq=False)
class TenantAccess:
    """One caller's access to one tenant for one action, under one version of the policy. It is compared by
    identity: caches of what follows from it use it as their key."""

    policy: PolicySnapshot
    identity: Identity
    caller: Caller
    target: Tenant
    """Without topics where the policy does not list the tenant that was asked for."""
    action: Action
    entry: Verdict
    may_configure: bool
    """Whether the caller may also configure the target."""


def decide_entry(
    policy: PolicySnapshot, identity: Identity, tenant_id: str, action: Action, *, now: float
) -> TenantAccess:
    """A caller's access to a tenant; `now` is in seconds since the epoch.

    Raises:
        AccessDenied: if the policy does not know the caller's role, or cannot read what the token says of the caller.
        UnknownTenant: if the caller's own tenant is unknown to the policy, or if the tenant asked for is and the
            caller may enter any.
    """
    attributes = policy.engine.caller_attributes.fitting(identity.attributes)
    groups = policy.memberships.groups_of(identity)
    caller = resolve_caller(
        identity, policy.roles, policy.tenants, policy.day(now), groups=groups, attributes=attributes
    )
    target = policy.tenants.get(tenant_id, Tenant(tenant_id, frozenset()))
    entry, configuring = policy.engine.decide_entry(caller, target, (action, Action.CONFIGURE))
    if tenant_id not in policy.tenants and (entry.allowed or configuring.allowed):
        raise UnknownTenant(tenant_id)  # to those only who may enter any tenant: to others it looks like a foreign one
    return TenantAccess(policy, identity, caller, target, action, entry, may_configure=configuring.allowed)


def decide_rows(access: TenantAccess, labels: Sequence[Label]) -> Sequence[Verdict]:
    """Whether the caller may touch rows with these labels: one verdict a label, in order. Who may not enter the tenant
    gets the verdict on that for each row."""
    if not access.entry.allowed:
        return [access.entry] * len(labels)
    return access.policy.engine.decide_rows(access.caller, access.target, access.action, labels)
