"""Leaves a caller's sets open when rules are specialised, so that callers who differ in them alone share a plan.

A rule that asks whether something of a row is in a set of the caller, such as

    resource.readers.containsAny(principal.reader_names)

would be specialised to hundreds of names, for each caller anew. Here the set becomes an unknown, which partial
evaluation leaves where it is, and the residual names it: `context.reader_names`. Whoever decides the residual is told
the members, and may leave out those that no row bears: the questions below have the same answer without them. All other
questions about a caller's sets (`==`, `isEmpty`, a comparison with a constant) are answered when access is planned.

Works on Cedar's JSON policy format.
"""

import re
from collections.abc import Mapping
from typing import Any

from vecsec_policy.cedar.ast import Expression, operands_of, with_operands

_OF_ALL_CALLERS = frozenset({"subject", "tenant", "role", "clearance"})
_PREFIX = "principal."
_PRINCIPAL: Expression = {"Var": "principal"}
_RESOURCE: Expression = {"Var": "resource"}
_NAMED = re.compile(r'\{"left":\{"Var":"context"\},"attr":"(\w+)"\}')


def with_open_sets(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The policy with the caller's sets unknown where a row's attribute is looked up in them."""
    return {
        **policy,
        "conditions": [{**condition, "body": _opened(condition["body"])} for condition in policy["conditions"]],
    }


def reducible_attributes(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Attributes of rows of which policies ask nothing but whether they are there and whether they have a member in
    common with sets left open, by whose names they go here: no other member can make a difference to a decision."""
    reader = _Reader()
    for policy in policies.values():
        for condition in policy["conditions"]:
            reader.read(condition["body"])
    return {} if reader.is_row_itself_mentioned else reader.reducible


class _Reader:
    """Walks over policies with open sets and notes what they do with the row."""

    def __init__(self) -> None:
        self.is_row_itself_mentioned = False
        self._asked: dict[str, frozenset[str]] = {}
        self._otherwise: set[str] = set()

    @property
    def reducible(self) -> dict[str, frozenset[str]]:
        return {name: sets for name, sets in self._asked.items() if name not in self._otherwise}

    def read(self, expression: Expression) -> None:
        ((operator, operands),) = expression.items()
        if expression == _RESOURCE:
            self.is_row_itself_mentioned = True
        elif operator == "has" and operands["left"] == _RESOURCE:
            return
        elif _is_of(_RESOURCE, expression):
            self._otherwise.add(operands["attr"])
        elif operator == "containsAny" and "unknown" in operands["left"] | operands["right"]:
            attribute, unknown = operands["left"], operands["right"]
            if "unknown" in attribute:
                attribute, unknown = unknown, attribute
            name, asked = attribute["."]["attr"], unknown["unknown"][0]["Value"].removeprefix(_PREFIX)
            self._asked[name] = self._asked.get(name, frozenset()) | {asked}
        else:
            for operand in operands_of(expression):
                self.read(operand)


def open_set(unknown: str) -> Expression | None:
    """What a residual says where partial evaluation left this unknown; None if it is no set of the caller's."""
    if not unknown.startswith(_PREFIX):
        return None
    return {".": {"left": {"Var": "context"}, "attr": unknown.removeprefix(_PREFIX)}}


def sets_named(residual: str) -> frozenset[str]:
    """The sets that a residual asks for. It has no other use for the context: all of that was known."""
    return frozenset(_NAMED.findall(residual))


def _opened(expression: Expression) -> Expression:
    ((operator, operands),) = expression.items()
    if operator == "containsAny" and _is_of(_RESOURCE, operands["left"]):
        return {operator: {**operands, "right": _unknown(operands["right"])}}
    if operator in {"contains", "containsAll", "containsAny"} and _is_of(_RESOURCE, operands["right"]):
        return {operator: {**operands, "left": _unknown(operands["left"])}}
    return with_operands(expression, _opened)


def _unknown(expression: Expression) -> Expression:
    """The same, or an unknown in place of a caller's set."""
    if not _is_of(_PRINCIPAL, expression) or expression["."]["attr"] in _OF_ALL_CALLERS:
        return _opened(expression)
    return {"unknown": [{"Value": _PREFIX + expression["."]["attr"]}]}


def _is_of(variable: Expression, expression: Expression) -> bool:
    """Whether the expression is an attribute of a variable, such as `resource.readers`."""
    access = expression.get(".")
    return access is not None and access["left"] == variable
