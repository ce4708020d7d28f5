"""Makes an ordinary Cedar policy set of what partial evaluation leaves over, and makes it small: it travels with every
grant.

Works on Cedar's JSON policy format. Each step keeps the decision exactly as it is, failures included: constants are
folded only where Cedar wants a truth value anyway, so that an operand of another type fails before and after alike.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vecsec_policy.cedar.ast import Expression, operands_of, with_operands
from vecsec_policy.cedar.open_sets import open_set

_UNKNOWN_RESOURCE: Expression = {"unknown": [{"Value": "resource"}]}
_RESOURCE: Expression = {"Var": "resource"}
_TRUE: Expression = {"Value": True}
_FALSE: Expression = {"Value": False}
_CONTEXT: Expression = {"Var": "context"}
_ANYTHING = {"op": "All"}
_NEVER_FAILING = frozenset(
    {"Value", "Var", "Set", "&&", "||", "!", "==", "!=", "<", "<=", ">", ">=", "in", "is", "has", "like", "."}
    | {"contains", "containsAll", "containsAny", "isEmpty", "if-then-else"}
)
"""On operands of the types that the validator saw; absent attributes are asked for first."""
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


class UnexpectedUnknown(ValueError):
    """A residual depends on something else than the resource; it could not be decided later."""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """What is known of a request whose resource is not."""

    resource_type: str
    """The entity type that the resource will have."""
    variables: Mapping[str, Expression]
    """What the other variables (principal, action, context) stand for. Variables survive partial evaluation only inside
    expressions that fail; written out, they fail wherever the residual is decided."""
    absent: Mapping[str, Expression] = field(default_factory=dict)
    """Entities that rules name but the decision does not have, by their names in Cedar's syntax. Partial evaluation
    takes them for unknown; a full decision takes them for entities without attributes, and so must the residual's."""


def policies(residuals: Mapping[str, Mapping[str, Any]], known: KnownRequest) -> dict[str, Expression]:
    """The residual policies (by their ids) as policies in Cedar's JSON format; those that cannot apply are left out.
    Their only variables are the resource and, in `context`, the caller's sets. Of the annotations only @violation
    stays; the id is the policy's own.

    Raises:
        UnexpectedUnknown: if something else than the resource is still unknown.
    """
    made = {}
    for policy_id, residual in residuals.items():
        body = _specialise_boolean(_condition(residual), known)
        if not _is_constant(body, truth=False):
            made[policy_id] = _policy(residual["effect"], body, residual.get("annotations", {}))
    return made


def policy_set_json(policies: Mapping[str, Expression], *, failure_rule_id: str | None = None) -> str:
    """Policies as one policy set in Cedar's JSON format.

    Where a policy failed for certain, `failure_rule_id` names a rule to be added that refuses everything, as a full
    decision would.
    """
    static_policies = dict(sorted(policies.items()))
    if failure_rule_id is not None:
        static_policies[failure_rule_id] = _policy("forbid", _TRUE, {})
    policy_set = {"staticPolicies": static_policies, "templates": {}, "templateLinks": []}
    return _ENCODER.encode(policy_set)


def _policy(effect: str, body: Expression, annotations: Mapping[str, str]) -> Expression:
    policy = {
        "effect": effect,
        "principal": _ANYTHING,
        "action": _ANYTHING,
        "resource": _ANYTHING,
        "conditions": [] if _is_constant(body, truth=True) else [{"kind": "when", "body": body}],
    }
    if "violation" in annotations:
        policy["annotations"] = {"violation": annotations["violation"]}
    return policy


def _condition(residual: Mapping[str, Any]) -> Expression:
    """The conditions as one expression; partial evaluation leaves a single `when`."""
    body = _TRUE
    for condition in residual["conditions"]:
        part = condition["body"] if condition["kind"] == "when" else {"!": {"arg": condition["body"]}}
        body = {"&&": {"left": body, "right": part}}
    return body


def _specialise_boolean(expression: Expression, known: KnownRequest) -> Expression:
    """Specialise an expression of which Cedar requires that it is true or false, and fold its constants."""
    ((operator, operands),) = expression.items()
    if operator in {"&&", "||"}:
        left = _specialise_boolean(operands["left"], known)
        return _fold_pair(operator, left, operands["right"], known, neutral=operator == "&&")
    if operator == "!":
        return _negate(_specialise_boolean(operands["arg"], known))
    return _specialise(expression, known)


def _specialise(expression: Expression, known: KnownRequest) -> Expression:
    """Name the unknown resource, answer what is known of its type, and write out the variables that are known."""
    ((operator, operands),) = expression.items()
    if operator == "unknown":
        if expression == _UNKNOWN_RESOURCE:
            return _RESOURCE
        return open_set(operands[0]["Value"]) or _absent(operands[0]["Value"], known)
    if operator == "Var":
        return known.variables.get(operands, expression)
    if operator == "is" and operands["left"] == _UNKNOWN_RESOURCE and "in" not in operands:
        return _TRUE if operands["entity_type"] == known.resource_type else _FALSE
    if operator == "has" and operands["left"] != _CONTEXT and _names_variable(operands["left"], known):
        # Inside of what fails, too. Whoever decides the residual has no such entity, and would take it for one without
        # attributes: nothing would be looked at that fails behind it. To look into it fails there.
        operator = "."
        expression = {operator: operands}
    return with_operands(expression, lambda operand: _specialise(operand, known))


def _names_variable(expression: Expression, known: KnownRequest) -> bool:
    ((operator, operands),) = expression.items()
    if operator == "Var":
        return operands in known.variables
    return any(_names_variable(operand, known) for operand in operands_of(expression))


def _absent(name: str, known: KnownRequest) -> Expression:
    if name not in known.absent:
        raise UnexpectedUnknown(name)
    return known.absent[name]


def _fold_pair(operator: str, left: Expression, right: Expression, known: KnownRequest, *, neutral: bool) -> Expression:
    """`left` is specialised and folded already, `right` is not: where `left` settles it, nothing ever looks at it."""
    if _is_constant(left, truth=not neutral):
        return left
    folded = _specialise_boolean(right, known)
    if _is_constant(left, truth=neutral):
        return folded
    if _is_constant(folded, truth=not neutral) and _cannot_fail(left):
        return folded
    # `x && false` stays as it is where x may fail: a rule that fails must refuse.
    return left if _is_constant(folded, truth=neutral) else {operator: {"left": left, "right": folded}}


def _cannot_fail(expression: Expression) -> bool:
    """Whether an expression gives a value on every label that fits the schema, which the validator saw it against: it
    calculates nothing, and looks into nothing but the row. What it names goes out of the grant where nothing hangs on
    it, as people of other tenants do."""
    ((operator, operands),) = expression.items()
    if operator == "." and operands["left"] != _RESOURCE:
        return False
    return operator in _NEVER_FAILING and all(map(_cannot_fail, operands_of(expression)))


def _negate(operand: Expression) -> Expression:
    if _is_constant(operand, truth=True):
        return _FALSE
    if _is_constant(operand, truth=False):
        return _TRUE
    return {"!": {"arg": operand}}


def _is_constant(expression: Expression, *, truth: bool) -> bool:
    return expression.get("Value") is truth  # not ==: in Python 1 equals True, in Cedar it does not
