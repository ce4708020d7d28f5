"""Use case: count violations, for whoever may configure the tenant."""

from vecsec_chassis.access import Action, Identity
from vecsec_policy.audit import AuditedCall, Auditor, Outcome
from vecsec_policy.standing import EntryGate
from vecsec_policy.violations import TenantCounts, ViolationLedger


class ViolationCounter:
    """Shows the ledger."""

    def __init__(self, gate: EntryGate, ledger: ViolationLedger, auditor: Auditor) -> None:
        self._gate = gate
        self._ledger = ledger
        self._auditor = auditor

    def count(self, identity: Identity, tenant_id: str) -> TenantCounts:
        """What is booked on a tenant.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        standing = self._gate.admit(AuditedCall.COUNT, identity, tenant_id, Action.CONFIGURE)
        self._auditor.record(
            AuditedCall.COUNT,
            Outcome.ALLOWED,
            identity=identity,
            tenant_id=tenant_id,
            action=Action.CONFIGURE,
            policy_version=standing.policy.version,
            rule_ids=standing.entry.rule_ids,
        )
        return self._ledger.counts(tenant_id)
