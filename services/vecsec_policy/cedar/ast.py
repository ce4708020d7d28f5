"""Reads rules' syntax trees: what a rule looks at, and what decisions by some rules can depend on.

Works on Cedar's JSON policy format; `operands_of` and `with_operands` are the way through it for all. Explanations name
the attributes that a rule mentions, and whoever looks for a decision's neighbours tries its constants: no other value
can make a difference to the rule. What differs in nothing that decisions can depend on is decided once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Expression = dict[str, Any]
"""One node: its operator as the only key, and its operands."""
AttributePath = tuple[str, ...]
"""A variable and attributes below it, such as ("principal", "role", "max_clearance")."""
Constant = str | int | bool

_LEAVES = frozenset({"Value", "Var"})
"""A constant, whose text may look like an expression and is none, and a variable."""
_ACCESSES = frozenset({".", "has"})
_LOOKS_INTO = _ACCESSES | {"in", "getTag", "hasTag"}
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "contains", "containsAll", "containsAny"})
_VARIABLES = ("principal", "action", "resource")


def operands_of(expression: Expression) -> list[Expression]:
    """The expressions directly below one, in order: operands, members of a set or record, arguments of a function."""
    ((operator, operands),) = expression.items()
    if operator in _LEAVES:
        return []
    members = operands.values() if isinstance(operands, dict) else operands
    return [member for member in members if isinstance(member, dict)]


def with_operands(expression: Expression, changed: Callable[[Expression], Expression]) -> Expression:
    """The same with each of its `operands_of` changed."""
    ((operator, operands),) = expression.items()
    if operator in _LEAVES:
        return expression
    if isinstance(operands, list):
        return {operator: [changed(member) if isinstance(member, dict) else member for member in operands]}
    return {
        operator: {name: changed(member) if isinstance(member, dict) else member for name, member in operands.items()}
    }


@dataclass(frozen=True, slots=True)
class Mentions:
    """What one rule looks at."""

    attributes: frozenset[AttributePath] = frozenset()
    """Each as far down as the rule follows it."""
    constants: frozenset[tuple[AttributePath, Constant]] = frozenset()
    """An attribute, and a constant that it is compared with or looked up in."""
    entities: frozenset[tuple[str, str]] = frozenset()
    """Roles, tenants, callers and actions that the rule names: type and id."""


def mentions_of(policy: Mapping[str, Any]) -> Mentions:
    """What a policy looks at, in its scope and in its conditions."""
    scoped = {(name,) for name in _VARIABLES if policy[name].keys() & {"entity", "entities"}}
    paths = scoped | {path for body in _bodies(policy) for path in _paths(body)}
    followed = {path[:length] for path in paths for length in range(1, len(path))}
    return Mentions(
        attributes=frozenset(paths - followed),
        constants=frozenset(found for node in _nodes(policy) for found in _compared(node)),
        entities=frozenset(entities_named(policy)),
    )


def entities_named(part: object) -> Iterator[tuple[str, str]]:
    """The entities that a part of a policy names, be it scope or constant: type and id."""
    if isinstance(part, dict):
        if part.keys() == {"type", "id"}:
            yield part["type"], part["id"]
        for value in part.values():
            yield from entities_named(value)
    elif isinstance(part, list):
        for member in part:
            yield from entities_named(member)


def entities_looked_into(policy: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The entities that a policy names and asks for an attribute or for what they belong to, not only compares with:
    type and id."""
    for node in _nodes(policy):
        ((operator, operands),) = node.items()
        if operator in _LOOKS_INTO:
            looked_into = operands["left"]
            while looked_into.keys() & _ACCESSES:
                ((_, within),) = looked_into.items()
                looked_into = within["left"]
            yield from entities_named(looked_into)


def attributes_mentioned(policies: Mapping[str, Any]) -> frozenset[str]:
    """The names in all `x.name` and `x has name` of a policy set, whatever x is: rules reach no attribute of any other
    name."""
    return frozenset(
        operands["attr"]
        for policy in policies["staticPolicies"].values()
        for node in _nodes(policy)
        for operator, operands in node.items()
        if operator in _ACCESSES
    )


def depends_on_subject(policies: Mapping[str, Any]) -> bool:
    """Whether a decision by a policy set may depend on more of the caller than attributes other than the subject."""
    return any(
        policy["principal"]["op"] not in {"All", "is"}
        or "in" in policy["principal"]
        or any(
            path[0] == "principal" and path[1:2] in {(), ("subject",)}
            for body in _bodies(policy)
            for path in _paths(body)
        )
        for policy in policies["staticPolicies"].values()
    )


def _bodies(policy: Mapping[str, Any]) -> Iterator[Expression]:
    return (condition["body"] for condition in policy["conditions"])


def _nodes(policy: Mapping[str, Any]) -> Iterator[Expression]:
    """All expressions of a policy's conditions."""
    waiting = list(_bodies(policy))
    while waiting:
        node = waiting.pop()
        yield node
        waiting += operands_of(node)


def _paths(expression: Expression) -> Iterator[AttributePath]:
    """The attributes in an expression, each as far down as it is followed there."""
    path = _path(expression)
    if path:
        yield path
    else:
        for operand in operands_of(expression):
            yield from _paths(operand)


def _path(expression: Expression) -> AttributePath:
    """The path that an expression is; empty if it is another kind of expression."""
    ((operator, operands),) = expression.items()
    if operator == "Var":
        return (operands,)
    if operator in _ACCESSES:
        below = _path(operands["left"])
        return (*below, operands["attr"]) if below else ()
    return ()


def _compared(node: Expression) -> Iterator[tuple[AttributePath, Constant]]:
    ((operator, operands),) = node.items()
    if operator in _COMPARISONS:
        for one, other in (("left", "right"), ("right", "left")):
            path = _path(operands[one])
            yield from ((path, constant) for constant in _constants(operands[other]) if path)
    elif operator == "like":
        yield from ((path, _matching_text(operands["pattern"])) for path in _paths(operands["left"]))


def _constants(expression: Expression) -> Iterator[Constant]:
    ((operator, operands),) = expression.items()
    if operator == "Value" and isinstance(operands, str | int | bool):
        yield operands
    elif operator == "Set":
        for member in operands:
            yield from _constants(member)


def _matching_text(pattern: list[Any]) -> str:
    """A text that the pattern matches: the wildcards match nothing."""
    return "".join(part["Literal"] for part in pattern if isinstance(part, dict))
