"""Which rules name others than an explanation is for: one policy serves all tenants, and what it says of one is not for
another's eyes."""

from vecsec_policy.cedar.entities import CALLER_TYPE, TENANT_TYPE
from vecsec_policy.cedar.rules import Rule
from vecsec_policy.in_force.evaluation import TenantAccess


def names_others(rule: Rule, access: TenantAccess) -> bool:
    """Whether a rule names a tenant, or somebody of one, other than the caller's and the one that was asked for."""
    known = {access.caller.tenant.tenant_id, access.target.tenant_id}
    for kind, name in rule.mentions.entities:
        if kind == TENANT_TYPE and name not in known:
            return True
        if kind == CALLER_TYPE and not name.startswith(tuple(f"{tenant_id}/" for tenant_id in known)):
            return True
    return any(path[-1] == "tenant_id" and constant not in known for path, constant in rule.mentions.constants)
