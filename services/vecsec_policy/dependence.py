"""What decisions by some policies can depend on, so that what differs in nothing else is decided once.

Reads policy sets in Cedar's JSON format, and errs on the side of more.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_PRINCIPAL = {"Var": "principal"}


def attributes_asked_for(policies: Mapping[str, Any]) -> frozenset[str]:
    """The names in all `x.name` and `x has name`, whatever x is: rules reach no attribute of any other name."""
    return frozenset(_names(policies))


def asks_who(policies: Mapping[str, Any]) -> bool:
    """Whether a decision by these policies may depend on more of the caller than attributes other than the subject."""
    return any(
        policy["principal"]["op"] not in {"All", "is"}
        or "in" in policy["principal"]
        or _mentions_who(policy["conditions"])
        for policy in policies["staticPolicies"].values()
    )


def _names(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("attr"), str):
            yield part["attr"]
        for value in part.values():
            yield from _names(value)
    elif isinstance(part, list):
        for member in part:
            yield from _names(member)


def _mentions_who(part: object) -> bool:
    if isinstance(part, list):
        return any(_mentions_who(member) for member in part)
    if not isinstance(part, dict):
        return False
    if part == _PRINCIPAL:
        return True
    access = part.get(".") or part.get("has")
    if isinstance(access, dict) and access.get("left") == _PRINCIPAL:
        return access.get("attr") == "subject"
    return any(_mentions_who(member) for member in part.values())
