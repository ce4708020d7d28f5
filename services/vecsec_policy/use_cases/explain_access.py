"""Use case: explain. Says whether a caller could touch a row and, to whoever may configure the tenant, why."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, DecidedLabel
from vecsec_policy.cedar.rule_reading import LABEL_NOT_IN_SCHEMA, READERS_WITHOUT_RULE, RULE_FAILED
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import TenantAccess, decide_rows
from vecsec_policy.use_cases.deciding_values import DecidingValue, deciding_values
from vecsec_policy.use_cases.decisions import EntryGate
from vecsec_policy.use_cases.possible_readers import PossibleReaders, find_possible_readers
from vecsec_policy.use_cases.rules_of_others import names_others
from vecsec_policy.use_cases.smallest_changes import SmallestChanges, find_smallest_changes

_BUILT_IN = {
    RULE_FAILED: "A rule failed while it was evaluated; then the answer is always a refusal.",
    LABEL_NOT_IN_SCHEMA: "The label has attributes that the policy's schema does not declare, or of another type.",
    READERS_WITHOUT_RULE: "The row names its readers and no rule asks for them; take over the packaged row-readers.",
}

_NAMES_OTHERS = "The rule names another tenant; its text is for those who keep the policy."


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A rule that decided."""

    rule_id: str
    description: str
    text: str
    """In Cedar; empty for what is not written in the policy files, or names others."""


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
    readers: PossibleReaders | None = None
    """Who could read the row; None where that was not asked."""


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
            # Who may not enter is told the version of their own tenant: the target's would tell that it is promoted.
            of_whom = access.target.tenant_id if access.entry.allowed else identity.tenant_id
            version = self._gate.policy.assignment.policy_for(of_whom).version
            return Explanation(verdict.allowed, incident_id, version, ())
        return await explained(access, label, verdict, incident_id)


async def explained(
    access: TenantAccess, label: Label | None, verdict: Verdict, incident_id: str, *, has_policy: bool = False
) -> Explanation:
    """All there is to say about a verdict on a row or, without a label, on entering the tenant. Rules that name other
    tenants, or people of theirs, are shown to those alone who have the policy's files."""
    is_reading = access.action is Action.READ
    return Explanation(
        verdict.allowed,
        incident_id,
        access.policy.version,
        rules=[_explained_rule(rule_id, access, has_policy=has_policy) for rule_id in verdict.rule_ids],
        values=deciding_values(access, label, verdict),
        remedies=None if verdict.allowed else await find_smallest_changes(access, label),
        readers=await find_possible_readers(access, label) if is_reading and label is not None else None,
    )


def _explained_rule(rule_id: str, access: TenantAccess, *, has_policy: bool) -> ExplainedRule:
    rule = access.policy.engine.rules.get(rule_id)
    if rule is None:
        return ExplainedRule(rule_id, _BUILT_IN[rule_id], "")
    if not has_policy and names_others(rule, access):
        return ExplainedRule(rule_id, _NAMES_OTHERS, "")
    return ExplainedRule(rule_id, rule.description, rule.text)
