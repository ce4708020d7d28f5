"""A caller is a verified identity, its role and its tenant; the lower clearance counts."""

import pytest

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.folder.principals import Role, Tenant, claims_more_than_role_allows, resolve_caller

ROLES = {"clerk": Role("clerk", frozenset({Action.READ}), Sensitivity.INTERNAL)}
TENANTS = {"acme": Tenant("acme", frozenset({"law"}))}


def identity(tenant_id: str = "acme", role: str = "clerk", clearance: Sensitivity = Sensitivity.INTERNAL) -> Identity:
    return Identity("alice", tenant_id, role, clearance, "issuer", 0.0)


@pytest.mark.parametrize("claimed", Sensitivity)
def test_the_lower_clearance_counts(claimed: Sensitivity) -> None:
    who = identity(clearance=claimed)
    caller = resolve_caller(who, ROLES, TENANTS)
    assert caller.clearance == min(claimed, Sensitivity.INTERNAL)
    assert claims_more_than_role_allows(who, caller) == (claimed > Sensitivity.INTERNAL)


@pytest.mark.parametrize("role", ["Clerk", "clerk ", "", "root"])
def test_an_unknown_role_is_denied(role: str) -> None:
    with pytest.raises(AccessDenied):
        resolve_caller(identity(role=role), ROLES, TENANTS)


@pytest.mark.parametrize("tenant_id", ["Acme", "acme_", "other"])
def test_an_unknown_tenant_is_named(tenant_id: str) -> None:
    with pytest.raises(UnknownTenant, match=tenant_id):
        resolve_caller(identity(tenant_id), ROLES, TENANTS)
