"""The audit record: one JSON object a line for each decision. It names labels by their key; it never holds content or
tokens."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from vecsec_chassis.access import Action, Identity, ViolationType
from vecsec_chassis.calls import current_request_id
from vecsec_chassis.labels import Label
from vecsec_policy.rules import Verdict


class AuditedCall(StrEnum):
    """What was asked of the policy service."""

    PLAN = "plan"
    CHECK = "check"
    EXPLAIN = "explain"
    COUNT = "count"


class Outcome(StrEnum):
    """What it answered."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN_TENANT = "unknown_tenant"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One decision. `request_id` leads to logs and traces, `incident_id` is what a refused caller may quote."""

    time: float
    """Seconds since the epoch."""
    call: AuditedCall
    outcome: Outcome
    request_id: str
    incident_id: str
    identity: Identity
    tenant_id: str
    """The tenant that was asked for."""
    action: Action
    policy_version: str
    rule_ids: Sequence[str] = ()
    """The rules that decided whether the caller may enter the tenant."""
    violations: Sequence[ViolationType] = ()
    """What was counted, without repetition."""
    remembered: bool = False
    """Whether a grant that was signed before was given out again."""
    allowed_count: int = 0
    withheld: Sequence[tuple[Label, Verdict]] = ()
    """The rows that were withheld; written once a label, with their number, for a tenant has few labels."""

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(
            {
                "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
                "call": self.call.value,
                "outcome": self.outcome.value,
                "request_id": self.request_id,
                "incident_id": self.incident_id,
                "subject": self.identity.subject,
                "issuer": self.identity.issuer,
                "caller_tenant_id": self.identity.tenant_id,
                "role": self.identity.role,
                "claimed_clearance": self.identity.clearance.name,
                "tenant_id": self.tenant_id,
                "action": self.action.value,
                "policy_version": self.policy_version,
                "rule_ids": list(self.rule_ids),
                "violations": [violation.value for violation in self.violations],
                "remembered": self.remembered,
                "allowed_count": self.allowed_count,
                "withheld_count": len(self.withheld),
                "withheld": [
                    _withheld(label, verdict, count) for (label, verdict), count in Counter(self.withheld).items()
                ],
            },
            separators=(",", ":"),
        )


class AuditTrail(Protocol):
    """Where records go."""

    def append(self, record: AuditRecord) -> None:
        """Take a record, without waiting for it to be written."""


class Auditor:
    """Makes the records: adds the time, the ids and nothing else."""

    def __init__(self, trail: AuditTrail, clock: Callable[[], float] = time.time) -> None:
        self._trail = trail
        self._clock = clock

    def record(
        self,
        call: AuditedCall,
        outcome: Outcome,
        *,
        identity: Identity,
        tenant_id: str,
        action: Action,
        policy_version: str,
        rule_ids: Sequence[str] = (),
        violations: Sequence[ViolationType] = (),
        remembered: bool = False,
        allowed_count: int = 0,
        withheld: Sequence[tuple[Label, Verdict]] = (),
    ) -> str:
        """Record a decision and return its incident id."""
        incident_id = uuid.uuid4().hex
        record = AuditRecord(
            time=self._clock(),
            call=call,
            outcome=outcome,
            request_id=current_request_id(),
            incident_id=incident_id,
            identity=identity,
            tenant_id=tenant_id,
            action=action,
            policy_version=policy_version,
            rule_ids=rule_ids,
            violations=violations,
            remembered=remembered,
            allowed_count=allowed_count,
            withheld=withheld,
        )
        self._trail.append(record)
        return incident_id


def _withheld(label: Label, verdict: Verdict, row_count: int) -> dict[str, object]:
    return {
        "label_key": label.key,
        "row_count": row_count,
        "violation_type": verdict.violation.value if verdict.violation is not None else None,
        "rule_ids": list(verdict.rule_ids),
    }
