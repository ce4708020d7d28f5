"""Turns the policies of a folder into rules with a name, a meaning and a place, and into sets that decide alike.

Works on Cedar's JSON policy format; `engine` does the parsing.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vecsec_chassis.domain.access import Action, ViolationType
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.cedar.ast import entities_looked_into, entities_named, mentions_of
from vecsec_policy.cedar.entities import ACTION_TYPE, DOCUMENT_TYPE, ROLE_TYPE, TENANT_TYPE
from vecsec_policy.cedar.rules import COUNTED_BY_RULES, Effect, Rule
from vecsec_policy.folder.cedar_text import SourcedPolicy
from vecsec_policy.folder.principals import Role, Tenant

RULE_FAILED = "rule-failure"
"""Stands among the determining rules where a rule failed while it was evaluated: the answer is then a refusal."""
LABEL_NOT_IN_SCHEMA = "label-not-in-schema"
"""Stands among the determining rules where a label does not fit the schema's Document."""
READERS_WITHOUT_RULE = "readers-without-rule"
"""Forbids to read and to write rows that name their readers where no rule asks for them: they would lie open to all."""
_BUILT_IN = frozenset({RULE_FAILED, LABEL_NOT_IN_SCHEMA, READERS_WITHOUT_RULE})

_RULE_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_KEPT_ANNOTATIONS = ("violation",)
"""A residual carries it. Descriptions are for people, who get them from the rules."""
_ANYTHING = {"op": "All"}
_COMPARED_WITH = {ROLE_TYPE: "principal.role", TENANT_TYPE: "principal.tenant"}


def read_rule(sourced: SourcedPolicy, policy: Mapping[str, Any]) -> Rule:
    """The rule that a parsed policy stands for.

    Raises:
        ConfigurationError: if its annotations do not name it or name something unknown.
    """
    annotations = policy.get("annotations", {})
    rule_id = annotations.get("id")
    if not rule_id:
        raise ConfigurationError(f"{sourced.place}: the policy has no @id; audit records and explanations need one")
    if _RULE_ID.fullmatch(rule_id) is None or rule_id in _BUILT_IN:
        raise ConfigurationError(
            f"{sourced.place}: @id({rule_id!r}) is reserved or not made of a-z, 0-9, '_', '.', '-'"
        )
    effect = Effect(policy["effect"])
    violation = _read_violation(sourced, annotations.get("violation"))
    if violation is not None and effect is Effect.PERMIT:
        raise ConfigurationError(f"{sourced.place}: a permit cannot have a @violation; only what forbids is counted")
    return Rule(
        rule_id=rule_id,
        effect=effect,
        description=annotations.get("description", ""),
        violation=violation,
        text=sourced.text,
        source=sourced.place,
        mentions=mentions_of(policy),
    )


def add_rule(rules: dict[str, Rule], rule: Rule) -> None:
    """Add a rule to the others, by its id.

    Raises:
        ConfigurationError: if another one has the id.
    """
    if rule.rule_id in rules:
        raise ConfigurationError(
            f"{rule.source}: @id({rule.rule_id!r}) is taken already, at {rules[rule.rule_id].source}"
        )
    rules[rule.rule_id] = rule


def check_names(
    sourced: SourcedPolicy, policy: Mapping[str, Any], roles: Mapping[str, Role], tenants: Mapping[str, Tenant]
) -> None:
    """See that the entities that a policy names can be there: a `forbid` with a typing error would never apply.

    Raises:
        ConfigurationError: if it names a role or a tenant that is not listed, or a row.
    """
    for kind, name in entities_named(policy):
        if kind == DOCUMENT_TYPE:
            raise ConfigurationError(f"{sourced.place}: a rule cannot name a row; it sees labels, not ids")
        if kind == ROLE_TYPE and name not in roles:
            raise ConfigurationError(f"{sourced.place}: the roles file lists no role {name!r}")
        if kind == TENANT_TYPE and name not in tenants:
            raise ConfigurationError(f"{sourced.place}: the tenants file lists no tenant {name!r}")


def keep_readers_guarded() -> dict[str, Any]:
    """The policy that `READERS_WITHOUT_RULE` names."""
    actions = [{"type": "Action", "id": action.value} for action in (Action.READ, Action.WRITE)]
    has_readers = {"has": {"left": {"Var": "resource"}, "attr": READERS}}
    return {
        "effect": "forbid",
        "principal": _ANYTHING,
        "action": {"op": "in", "entities": actions},
        "resource": _ANYTHING,
        "conditions": [{"kind": "when", "body": has_readers}],
    }


def refuse_looking_into_names(sourced: SourcedPolicy, policy: Mapping[str, Any]) -> None:
    """See that a policy only compares with whom it names: of all entities, a decision knows its caller's own role and
    tenant and the target alone. What it would find in others depends on who asks, and a plan is made for many.

    Raises:
        ConfigurationError: if it looks into an entity that it names.
    """
    for kind, name in entities_looked_into(policy):
        if kind != ACTION_TYPE:
            raise ConfigurationError(
                f'{sourced.place}: the policy looks into {kind}::"{name}"; a rule can only compare with whom it names: '
                f'write {_COMPARED_WITH.get(kind, "principal")} == {kind}::"{name}" and ask that for the attribute'
            )


def policies_about(resource_type: str, policies: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The policies whose scope (`resource is ...`) does not rule out this type of resource. The others never apply to
    it, and leaving them out saves a third of the time. In those that stay, the scope says nothing that is not known."""
    applicable = {
        policy_id: _without_resource_type_test(resource_type, policy)
        for policy_id, policy in policies.items()
        if policy["resource"].get("entity_type", resource_type) == resource_type
    }
    return {"staticPolicies": applicable, "templates": {}, "templateLinks": []}


def in_slices(policy_set: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """The same policies as several sets of at most `size`."""
    policies = iter(policy_set["staticPolicies"].items())
    while some := dict(islice(policies, size)):
        yield {**policy_set, "staticPolicies": some}


def _read_violation(sourced: SourcedPolicy, name: str | None) -> ViolationType | None:
    if name is None:
        return None
    if name not in {violation.value for violation in COUNTED_BY_RULES}:
        raise ConfigurationError(
            f"{sourced.place}: unknown @violation({name!r}); known are {', '.join(COUNTED_BY_RULES)}"
        )
    return ViolationType(name)


def _without_resource_type_test(resource_type: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    annotations = policy.get("annotations", {})
    is_known = policy["resource"] == {"op": "is", "entity_type": resource_type}
    return {
        **policy,
        "resource": _ANYTHING if is_known else policy["resource"],
        "annotations": {name: annotations[name] for name in _KEPT_ANNOTATIONS if name in annotations},
    }
