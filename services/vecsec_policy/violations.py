"""Counts violations and denials: per tenant in memory, by type in metrics, and as log lines that operators grep for."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from vecsec_chassis.access import Action, Identity, ViolationType
from vecsec_policy.metrics import PolicyMetrics

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TenantCounts:
    """What the callers of one tenant did since the service started."""

    violations: Mapping[ViolationType, int]
    """Every type is there, also those with 0."""
    denied: int
    since: float
    """Seconds since the epoch."""


class ViolationLedger:
    """Where violations and denials are reported. They are booked on the tenant of the caller, not on the one asked for;
    callers are admitted from known tenants only, so the books cannot grow without bound."""

    def __init__(self, metrics: PolicyMetrics) -> None:
        self._metrics = metrics
        self._since = time.time()
        self._violations: defaultdict[str, Counter[ViolationType]] = defaultdict(Counter)
        self._denials: Counter[str] = Counter()

    def violation(self, violation: ViolationType, identity: Identity, tenant_id: str, *, count: int = 1) -> None:
        """Book violations of one kind by one caller, who asked for `tenant_id`."""
        self._violations[identity.tenant_id][violation] += count
        self._metrics.violation(violation, count)
        log.warning(
            violation.value,
            subject=identity.subject,
            caller_tenant_id=identity.tenant_id,
            role=identity.role,
            tenant_id=tenant_id,
            count=count,
        )

    def denial(self, identity: Identity, action: Action) -> None:
        """Book a refused call."""
        self._denials[identity.tenant_id] += 1
        self._metrics.denial(action)

    def counts(self, tenant_id: str) -> TenantCounts:
        """What is booked on a tenant."""
        booked = self._violations.get(tenant_id, Counter())
        return TenantCounts(
            violations={violation: booked[violation] for violation in ViolationType},
            denied=self._denials[tenant_id],
            since=self._since,
        )
