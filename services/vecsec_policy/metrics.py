"""What the policy service measures. Label values are bounded: kinds, actions, decisions; never tenants or callers."""

from collections.abc import Callable

from opentelemetry.metrics import Meter, Observation

from vecsec_chassis.domain.access import Action, ViolationType
from vecsec_chassis.telemetry.metrics import LabelledCounter, observe_value

_TEN_YEARS_HOURS = 87_600.0
"""In place of for ever: an infinite value would not be exported."""


class PolicyMetrics:
    """The instruments of the policy service."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._violations = LabelledCounter(
            meter,
            "vecsec_rlsa_violations",
            "Violations of row-level security, by violation_type.",
            "violation_type",
        )
        self._divergence = LabelledCounter(
            meter,
            "vecsec_plan_check_divergence",
            "Rows that the check refused though the plan of the same policy version had let them through.",
        )
        self._denials = LabelledCounter(meter, "vecsec_denials", "Calls that the policy refused, by action.", "action")
        self.grants_issued = LabelledCounter(meter, "vecsec_grants_issued", "Grants signed, by action.", "action")
        self._decisions = LabelledCounter(meter, "vecsec_decisions", "Rows decided, by decision.", "decision")
        self.audit_write_failures = LabelledCounter(
            meter, "vecsec_audit_write_failures", "Failed attempts to write the audit file; they are repeated."
        )
        self.audit_records_lost = LabelledCounter(
            meter, "vecsec_audit_records_lost", "Audit records given up because the file could not be written."
        )
        self.foreign_calls = LabelledCounter(
            meter,
            "vecsec_foreign_calls_recorded",
            "Calls at retrieval of other tenants' callers that were put on record, by action.",
            "action",
        )
        self.reloads = LabelledCounter(
            meter,
            "vecsec_policy_reloads",
            "Changes of files, by part and by what became of them.",
            "part",
            "result",
        )
        self._reload_failing = meter.create_gauge(
            "vecsec_policy_reload_failing",
            description="1 while changed files are not in force because something is wrong with them, by part.",
        )
        self.violation_index_failures = LabelledCounter(
            meter, "vecsec_violation_index_failures", "Times that the index of violations could not be written."
        )
        # A counter that is not there until the first violation hides that violation from `rate()`.
        for violation in ViolationType:
            self._violations.add(0, violation.value)
        for action in Action:
            self._denials.add(0, action.value)
            self.foreign_calls.add(0, action.value)
        failures = (self.audit_write_failures, self.audit_records_lost, self.violation_index_failures)
        for counter in (self._divergence, *failures):
            counter.add(0)

    def violation(self, violation: ViolationType, count: int) -> None:
        """Violations of one kind."""
        self._violations.add(count, violation.value)
        if violation is ViolationType.PLAN_CHECK_DIVERGENCE:
            self._divergence.add(count)

    def denial(self, action: Action) -> None:
        """A refused call."""
        self._denials.add(1, action.value)

    def rows_decided(self, allowed: int, withheld: int) -> None:
        """The outcome of a check."""
        self._decisions.add(allowed, "allow")
        self._decisions.add(withheld, "withhold")

    def reload_failing(self, part: str, *, is_failing: bool) -> None:
        """Whether changed files are kept from being in force by what is wrong with them."""
        self._reload_failing.set(int(is_failing), {"part": part})

    def watch_audit(self, head_sequence: Callable[[], int], is_recording: Callable[[], bool]) -> None:
        """Show the state of the audit log, from now on."""
        self._meter.create_observable_gauge(
            "vecsec_audit_head_sequence",
            callbacks=[lambda _options: [Observation(head_sequence())]],
            description="Number of the newest audit record on disk.",
        )
        self._meter.create_observable_gauge(
            "vecsec_audit_recording",
            callbacks=[lambda _options: [Observation(int(is_recording()))]],
            description="1 while audit records can be written, else 0.",
        )

    def watch_audit_disk(
        self,
        *,
        used_bytes: Callable[[], int],
        free_bytes: Callable[[], int],
        hours_until_full: Callable[[], float],
        waiting_bytes: Callable[[], int],
    ) -> None:
        """Show how much room the audit log takes and has, from now on."""
        observe_value(self._meter, "vecsec_audit_bytes", "How large all files of the audit log are.", used_bytes)
        observe_value(self._meter, "vecsec_audit_free_bytes", "Room on the disk of the audit log.", free_bytes)
        observe_value(
            self._meter,
            "vecsec_audit_hours_until_full",
            "When that disk is full if it goes on as in the last hour; 87600 (ten years) where it never will be so.",
            lambda: min(hours_until_full(), _TEN_YEARS_HOURS),
        )
        observe_value(
            self._meter, "vecsec_audit_waiting_bytes", "Audit records that wait to be written, at most.", waiting_bytes
        )
