"""Reports violations and denials as they happen: by type in metrics, and as log lines that operators grep for.

Per tenant they are counted from the audit log: see `index`.
"""

import structlog

from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_policy.metrics import PolicyMetrics

log = structlog.get_logger()


class ViolationLedger:
    """Where violations and denials are reported."""

    def __init__(self, metrics: PolicyMetrics) -> None:
        self._metrics = metrics

    def violation(self, violation: ViolationType, identity: Identity, tenant_id: str, *, count: int = 1) -> None:
        """Report violations of one kind by one caller, who asked for `tenant_id`."""
        self._metrics.violation(violation, count)
        log.warning(
            violation.value,
            subject=identity.subject,
            caller_tenant_id=identity.tenant_id,
            role=identity.role,
            tenant_id=tenant_id,
            count=count,
        )

    def denial(self, action: Action) -> None:
        """Report a refused call."""
        self._metrics.denial(action)
