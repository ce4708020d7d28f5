"""The audit record of a disagreement between the policy in force and the candidate in its shadow."""

import json
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_policy.audit.records import timestamp
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.shadow.counts import ShadowChange, ShadowQuestion

SHADOW = "shadow"
"""The kind of these records."""


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """One disagreement. The first verdict was in force; the candidate's had no effect."""

    time: float
    """Seconds since the epoch."""
    request_id: str
    identity: Identity
    tenant_id: str
    action: Action
    question: ShadowQuestion
    change: ShadowChange
    label: Label | None
    """Of the row; None where it is about entering the tenant."""
    current_version: str
    current: Verdict
    candidate_version: str
    candidate: Verdict

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(
            {
                "kind": SHADOW,
                "time": timestamp(self.time),
                "request_id": self.request_id,
                "subject": self.identity.subject,
                "issuer": self.identity.issuer,
                "caller_tenant_id": self.identity.tenant_id,
                "role": self.identity.role,
                "claimed_clearance": self.identity.clearance.name,
                "tenant_id": self.tenant_id,
                "action": self.action.value,
                "question": self.question.value,
                "change": self.change.value,
                "label": None if self.label is None else rule_attributes(self.label),
                "policy_version": self.current_version,
                "rule_ids": list(self.current.rule_ids),
                "allowed": self.current.allowed,
                "candidate_version": self.candidate_version,
                "candidate_rule_ids": list(self.candidate.rule_ids),
                "candidate_allowed": self.candidate.allowed,
            },
            separators=(",", ":"),
        )
