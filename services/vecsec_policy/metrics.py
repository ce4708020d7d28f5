"""What the policy service measures. Label values are bounded: kinds, actions, decisions; never tenants or callers."""

from opentelemetry.metrics import Meter

from vecsec_chassis.access import Action, ViolationType


class PolicyMetrics:
    """The instruments of the policy service; the Prometheus exporter adds `_total` to the names of counters."""

    def __init__(self, meter: Meter) -> None:
        self._violations = meter.create_counter(
            "vecsec_rlsa_violations", description="Violations of row-level security, by violation_type."
        )
        self._divergence = meter.create_counter(
            "vecsec_plan_check_divergence",
            description="Rows that the check refused though the plan of the same policy version had let them through.",
        )
        self._denials = meter.create_counter("vecsec_denials", description="Calls that the policy refused, by action.")
        self._grants = meter.create_counter("vecsec_grants_issued", description="Grants signed, by action.")
        self._decisions = meter.create_counter("vecsec_decisions", description="Rows decided, by decision.")
        self._remembered = meter.create_counter(
            "vecsec_policy_cache", description="Look-ups of remembered grants and row decisions, by cache and result."
        )
        self._audit_failures = meter.create_counter(
            "vecsec_audit_write_failures", description="Failed attempts to write the audit file; they are repeated."
        )
        self._audit_lost = meter.create_counter(
            "vecsec_audit_records_lost", description="Audit records given up because the file could not be written."
        )
        # A counter that is not there until the first violation hides that violation from `rate()`.
        for violation in ViolationType:
            self.violation(violation, 0)
        self._divergence.add(0)
        self._audit_failures.add(0)
        self._audit_lost.add(0)

    def violation(self, violation: ViolationType, count: int) -> None:
        """Violations of one kind."""
        self._violations.add(count, {"violation_type": violation.value})

    def divergence(self, count: int) -> None:
        """Rows on which check and plan disagree."""
        self._divergence.add(count)

    def denial(self, action: Action) -> None:
        """A refused call."""
        self._denials.add(1, {"action": action.value})

    def grant_issued(self, action: Action) -> None:
        """A signed grant."""
        self._grants.add(1, {"action": action.value})

    def rows_decided(self, allowed: int, withheld: int) -> None:
        """The outcome of a check."""
        self._decisions.add(allowed, {"decision": "allow"})
        self._decisions.add(withheld, {"decision": "withhold"})

    def looked_up(self, cache: str, *, hits: int, misses: int) -> None:
        """How often something was remembered."""
        if hits:
            self._remembered.add(hits, {"cache": cache, "result": "hit"})
        if misses:
            self._remembered.add(misses, {"cache": cache, "result": "miss"})

    def audit_write_failed(self) -> None:
        """The audit file could not be written; the records are kept and tried again."""
        self._audit_failures.add(1)

    def audit_record_lost(self) -> None:
        """An audit record that no room was left for."""
        self._audit_lost.add(1)
