"""A call that the candidate decides too, and the audit record of its disagreement with the policy in force."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_policy.audit.record_bounds import bounded_label
from vecsec_policy.audit.records import timestamp
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.snapshot import Candidate, PolicyAssignment
from vecsec_policy.shadow.counts import ShadowChange, ShadowQuestion

_BYTES_OF_A_RECORD = 4_096


@dataclass(frozen=True, slots=True)
class ShadowedCall:
    """A call to be decided by the candidate too."""

    assignment: PolicyAssignment
    candidate: Candidate
    request_id: str
    identity: Identity
    tenant_id: str
    action: Action
    rows: Sequence[tuple[Label, Verdict]] | None = None
    """The rows of a check, as they were decided; None for a plan."""


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """One disagreement. The first verdict was in force; the candidate's had no effect."""

    time: float
    """Seconds since the epoch."""
    call: ShadowedCall
    question: ShadowQuestion
    change: ShadowChange
    label: Label | None
    """Of the row; None where it is about entering the tenant."""
    current: Verdict
    candidate: Verdict

    def to_json(self) -> str:
        """The record as one line of JSON."""
        call = self.call
        label, cut = (None, None) if self.label is None else bounded_label(rule_attributes(self.label))
        return json.dumps(
            {
                "kind": "shadow",
                "time": timestamp(self.time),
                "request_id": call.request_id,
                "subject": call.identity.subject,
                "issuer": call.identity.issuer,
                "caller_tenant_id": call.identity.tenant_id,
                "role": call.identity.role,
                "claimed_clearance": call.identity.clearance.name,
                "tenant_id": call.tenant_id,
                "action": call.action.value,
                "question": self.question.value,
                "change": self.change.value,
                "label": None if label is None else json.loads(label),
                **({} if cut is None else {"label_cut": cut}),
                "policy_version": call.assignment.current.version,
                "rule_ids": list(self.current.rule_ids),
                "allowed": self.current.allowed,
                "candidate_version": call.candidate.policy.version,
                "candidate_rule_ids": list(self.candidate.rule_ids),
                "candidate_allowed": self.candidate.allowed,
            },
            separators=(",", ":"),
        )

    def weight(self) -> int:
        """How many bytes of memory it takes while it waits, at most."""
        return _BYTES_OF_A_RECORD + (0 if self.label is None else self.label.weight)
