"""One decision as one policy makes it, whoever asks for what: refusals of any kind are decisions, too."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_policy.audit.reading import RecordedDecision
from vecsec_policy.audit.records import AuditedOutcome
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import TenantAccess, decide_entry, decide_rows
from vecsec_policy.in_force.snapshot import PolicySnapshot

UNKNOWN_ROLE = "unknown-role"
"""Stands in the place of a rule where the policy does not know the caller's role."""
UNKNOWN_TENANT = "unknown-tenant"
"""Stands in the place of a rule where the policy does not know a tenant."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Who wants to do what in which tenant, and when."""

    identity: Identity
    tenant_id: str
    action: Action
    time: float
    """In seconds since the epoch."""

    @classmethod
    def of(cls, recorded: RecordedDecision) -> "AccessRequest":
        """What was decided then."""
        identity = Identity(
            subject=recorded.subject,
            tenant_id=recorded.caller_tenant_id,
            role=recorded.role,
            clearance=recorded.claimed_clearance,
            issuer=recorded.issuer,
            expires_at=0.0,
            groups=recorded.groups,
            attributes=recorded.attributes,
        )
        return cls(identity, recorded.tenant_id, recorded.action, recorded.time.timestamp())

    def in_words(self, label: Label | None, *, with_clearance: bool = False) -> str:
        """The question for people: about a row with this label or, without one, about entering the tenant."""
        who = self.identity
        claim = f", cleared for {who.clearance.name}" if with_clearance else ""
        row = "" if label is None else f" a row labelled {label_in_words(label)}"
        return f"{who.role} {who.subject} of {who.tenant_id}{claim}: {self.action}{row} in {self.tenant_id}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says to a call."""

    outcome: AuditedOutcome
    entry: Verdict
    rows: Sequence[Verdict]
    """One a label, in order."""


def enter(policy: PolicySnapshot, request: AccessRequest) -> TenantAccess:
    """Let a policy decide whether the caller may enter the tenant.

    Raises:
        AccessDenied, UnknownTenant: if the policy does not know the role or a tenant.
    """
    return decide_entry(policy, request.identity, request.tenant_id, request.action, now=request.time)


def decide(policy: PolicySnapshot, request: AccessRequest, labels: Sequence[Label]) -> Decision:
    """Let a policy decide a call and rows with these labels."""
    try:
        access = enter(policy, request)
    except UnknownTenant:
        return _refused(AuditedOutcome.UNKNOWN_TENANT, UNKNOWN_TENANT, len(labels))
    except AccessDenied:
        return _refused(AuditedOutcome.DENIED, UNKNOWN_ROLE, len(labels))
    outcome = AuditedOutcome.ALLOWED if access.entry.allowed else AuditedOutcome.DENIED
    return Decision(outcome, access.entry, decide_rows(access, labels))


def reasons(verdict: Verdict) -> str:
    """The determining rules for people."""
    return ", ".join(verdict.rule_ids) or "no rule permits it"


def _refused(outcome: AuditedOutcome, reason: str, count: int) -> Decision:
    verdict = Verdict(allowed=False, rule_ids=(reason,))
    return Decision(outcome, verdict, [verdict] * count)


def label_in_words(label: Label) -> str:
    """A label for people, such as: tenant_a, INTERNAL, topics rag and marketing, owner "alice"."""
    parts = [
        label.tenant_id or "no tenant",
        "no sensitivity" if label.sensitivity is None else label.sensitivity.name,
        f"topics {' and '.join(sorted(label.topics))}" if label.topics else "no topics",
        *(f"{name} {_value(value)}" for name, value in label.attributes),
    ]
    return ", ".join(parts)


def _value(value: AttributeValue) -> str:
    return json.dumps(sorted(value) if isinstance(value, frozenset) else value)
