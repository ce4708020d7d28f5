"""What a rule looks at: the attributes that it mentions and the constants that it compares them with.

Read from Cedar's JSON policy format. Explanations name these attributes, and whoever looks for a decision's neighbours
tries these constants: no other value can make a difference to the rule.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

AttributePath = tuple[str, ...]
"""A variable and attributes below it, such as ("principal", "role", "max_clearance")."""
Constant = str | int | bool

_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "contains", "containsAll", "containsAny"})
_VARIABLES = ("principal", "action", "resource")


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
    """What a policy in Cedar's JSON format looks at, in its scope and in its conditions."""
    scoped = {(name,) for name in _VARIABLES if policy[name].keys() & {"entity", "entities"}}
    paths = scoped | {path for condition in policy["conditions"] for path in _paths(condition["body"])}
    followed = {path[:length] for path in paths for length in range(1, len(path))}
    return Mentions(
        attributes=frozenset(paths - followed),
        constants=frozenset(found for condition in policy["conditions"] for found in _compared(condition["body"])),
        entities=frozenset(entities_named(policy)),
    )


def entities_named(part: object) -> Iterator[tuple[str, str]]:
    """The entities that a part of a policy names: type and id."""
    if isinstance(part, dict):
        if part.keys() == {"type", "id"}:
            yield part["type"], part["id"]
        for value in part.values():
            yield from entities_named(value)
    elif isinstance(part, list):
        for member in part:
            yield from entities_named(member)


def _paths(expression: object) -> Iterator[AttributePath]:
    path = _path(expression)
    if path:
        yield path
    elif isinstance(expression, dict) and "Value" not in expression:
        for operand in expression.values():
            yield from _paths(operand)
    elif isinstance(expression, list):
        for member in expression:
            yield from _paths(member)


def _path(expression: object) -> AttributePath:
    """The path that an expression is; empty if it is another kind of expression."""
    if not isinstance(expression, dict) or len(expression) != 1:
        return ()
    ((operator, operands),) = expression.items()
    if operator == "Var":
        return (operands,)
    if operator in {".", "has"}:
        below = _path(operands["left"])
        return (*below, operands["attr"]) if below and isinstance(operands["attr"], str) else ()
    return ()


def _compared(expression: object) -> Iterator[tuple[AttributePath, Constant]]:
    if isinstance(expression, list):
        for member in expression:
            yield from _compared(member)
    elif isinstance(expression, dict) and "Value" not in expression:
        for operator, operands in expression.items():
            if operator in _COMPARISONS:
                yield from _sides(operands["left"], operands["right"])
                yield from _sides(operands["right"], operands["left"])
            elif operator == "like":
                yield from ((path, _sample(operands["pattern"])) for path in _paths(operands["left"]))
            yield from _compared(operands)


def _sides(attribute: object, constants: object) -> Iterator[tuple[AttributePath, Constant]]:
    path = _path(attribute)
    if path:
        yield from ((path, constant) for constant in _constants(constants))


def _constants(expression: object) -> Iterator[Constant]:
    if isinstance(expression, dict):
        value = expression.get("Value")
        if isinstance(value, str | int | bool):
            yield value
        for member in expression.get("Set", ()):
            yield from _constants(member)


def _sample(pattern: list[Any]) -> str:
    """A text that the pattern matches: the wildcards match nothing."""
    return "".join(part["Literal"] for part in pattern if isinstance(part, dict))
