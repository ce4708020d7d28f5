"""Use case: status. Says which policy decides over a tenant's rows, for whoever may configure the tenant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vecsec_chassis.domain.access import Identity
from vecsec_policy.audit.records import AuditedCall
from vecsec_policy.shadow.counts import ShadowChange, ShadowCounts, ShadowQuestion
from vecsec_policy.use_cases.decisions import EntryGate


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """What one replica knows. It names nothing that belongs to another tenant, and no files."""

    policy_version: str
    """Of the policy that decides over the tenant's rows."""
    loaded_at: float
    """Seconds since the epoch."""
    candidate_version: str
    """Empty if no candidate is being rolled out."""
    is_promoted: bool
    shadow_share: float
    """Of the tenant's calls; 0 if the candidate decides none of them."""
    disagreements: Mapping[tuple[ShadowQuestion, ShadowChange], int]
    is_reload_failing: bool


class StatusReader:
    """Reads the status."""

    def __init__(self, gate: EntryGate, shadow_counts: ShadowCounts, is_reload_failing: Callable[[], bool]) -> None:
        self._gate = gate
        self._shadow_counts = shadow_counts
        self._is_reload_failing = is_reload_failing

    def read(self, identity: Identity, tenant_id: str) -> PolicyStatus:
        """The status, as far as it concerns a tenant.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        access = self._gate.admit_to_configure(AuditedCall.STATUS, identity, tenant_id)
        candidate = self._gate.policy.assignment.candidate
        version = candidate.policy.version if candidate is not None else ""
        return PolicyStatus(
            policy_version=access.policy.version,
            loaded_at=access.policy.loaded_at,
            candidate_version=version,
            is_promoted=candidate is not None and candidate.rollout.promotes(tenant_id),
            shadow_share=candidate.rollout.share_of(tenant_id) if candidate is not None else 0.0,
            disagreements=self._shadow_counts.of_tenant(version, tenant_id),
            is_reload_failing=self._is_reload_failing(),
        )
