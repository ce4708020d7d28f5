"""Use case: say what a tenant may use."""

from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import UnknownTenant
from vecsec_chassis.domain.tenant_limits import TenantLimits
from vecsec_policy.audit.records import AuditedCall
from vecsec_policy.use_cases.decisions import EntryGate


class LimitsReader:
    """Reads limits."""

    def __init__(self, gate: EntryGate) -> None:
        self._gate = gate

    def read(self, identity: Identity, tenant_id: str) -> tuple[TenantLimits, str]:
        """The limits of a tenant, and the version of the policy that has them.

        Of their own tenant every caller may know: whoever meets a limit is told it. Nothing is decided then, and so
        nothing recorded. Of another it takes the right to configure.

        Raises:
            UnknownTenant: if the policy does not list the caller's own tenant.
            AccessDenied, UnknownTenant, AuditUnavailable: as `EntryGate.admit`, for another tenant.
        """
        if tenant_id != identity.tenant_id:
            access = self._gate.admit_to_configure(AuditedCall.STATUS, identity, tenant_id)
            return access.target.limits, access.policy.version
        policy = self._gate.policy.assignment.policy_for(tenant_id)
        tenant = policy.tenants.get(tenant_id)
        if tenant is None:
            raise UnknownTenant(tenant_id)
        return tenant.limits, policy.version
