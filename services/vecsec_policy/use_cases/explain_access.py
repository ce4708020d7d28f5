"""Use case: explain. Says whether a caller could touch a row and, to whoever may configure the tenant, why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, DecidedLabel
from vecsec_policy.cedar.rule_reading import LABEL_NOT_IN_SCHEMA, RULE_FAILED
from vecsec_policy.cedar.rules import Rule, Verdict
from vecsec_policy.in_force.evaluation import TenantAccess, decide_rows
from vecsec_policy.use_cases.deciding_values import DecidingValue, deciding_values
from vecsec_policy.use_cases.decisions import EntryGate
from vecsec_policy.use_cases.smallest_changes import SmallestChanges, find_smallest_changes

_BUILT_IN = {
    RULE_FAILED: "A rule failed while it was evaluated; then the answer is always a refusal.",
    LABEL_NOT_IN_SCHEMA: "The label has attributes that the policy's schema does not declare, or of another type.",
}


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A rule that decided."""

    rule_id: str
    description: str
    text: str
    """In Cedar; empty for what is not written in the policy files."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. For callers who may not configure the tenant it differs in nothing but `allowed`."""

    allowed: bool
    incident_id: str
    policy_version: str
    rules: Sequence[ExplainedRule]
    values: Sequence[DecidingValue] = ()
    """What the rules looked at."""
    remedies: SmallestChanges | None = None
    """What would have allowed it; None for what is allowed."""


class AccessExplainer:
    """Explains decisions."""

    def __init__(self, gate: EntryGate) -> None:
        self._gate = gate

    async def explain(self, identity: Identity, tenant_id: str, action: Action, label: Label) -> Explanation:
        """Explain what would happen to a row with this label.

        A caller who may not enter the tenant gets a plain refusal, whether or not the tenant exists; having asked for
        a foreign tenant counts.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.assess`.
        """
        access = self._gate.assess(AuditedCall.EXPLAIN, identity, tenant_id, action)
        [verdict] = decide_rows(access, [label])
        incident_id = self._gate.record(
            AuditedCall.EXPLAIN,
            access,
            AuditedOutcome.ALLOWED if access.entry.allowed else AuditedOutcome.DENIED,
            rule_ids=verdict.rule_ids,
            violations=self._gate.book_entry(access),
            rows=[(DecidedLabel.of(label, verdict), 1)],
        )
        if not access.may_configure:
            return Explanation(verdict.allowed, incident_id, access.policy.version, ())
        return await explained(access, label, verdict, incident_id)


async def explained(access: TenantAccess, label: Label | None, verdict: Verdict, incident_id: str) -> Explanation:
    """All there is to say about a verdict on a row or, without a label, on entering the tenant."""
    return Explanation(
        verdict.allowed,
        incident_id,
        access.policy.version,
        rules=_rules(verdict, access.policy.engine.rules),
        values=deciding_values(access, label, verdict),
        remedies=None if verdict.allowed else await find_smallest_changes(access, label),
    )


def _rules(verdict: Verdict, rules: Mapping[str, Rule]) -> Sequence[ExplainedRule]:
    return tuple(
        ExplainedRule(rule_id, rules[rule_id].description, rules[rule_id].text)
        if rule_id in rules
        else ExplainedRule(rule_id, _BUILT_IN[rule_id], "")
        for rule_id in verdict.rule_ids
    )
