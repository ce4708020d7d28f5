"""How a fact about a caller is read from claims, as an issuers file says: a path, and what to make of what it finds."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult

from vecsec_chassis.domain.access import AttributeValue

_FUNCTIONS: Mapping[str, Any] = Functions.FUNCTION_TABLE
_FAILURES = (JMESPathError, RecursionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Of an expression that is given what it was not made for: the library does not look at everything before."""
_LONGEST_NUMBER = 2**63
_SHOWN_CHARACTERS = 60


class UnusableClaims(ValueError):
    """Claims that do not say who calls, or say what their issuer may not; the message is for the log alone."""


class BadExpression(ValueError):
    """A path that is no JMESPath; the message says why, in one line."""


_QUICK: Mapping[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "ends_with": str.endswith,
    "starts_with": str.startswith,
}


@dataclass(frozen=True, slots=True)
class _TextFilter:
    """A filter such as `groups[?starts_with(@, '/kb/')]`, which the library takes 15 µs a group for."""

    of: ParsedResult
    keeps: Callable[[str, str], bool]
    text: str

    @classmethod
    def in_expression(cls, expression: str, parsed: Mapping[str, Any]) -> Self | None:
        """The filter that an expression is; None if it is anything else."""
        match parsed:
            case {
                "type": "filter_projection",
                "children": [
                    of,
                    {"type": "identity"},
                    {
                        "type": "function_expression",
                        "value": name,
                        "children": [{"type": "current"}, {"type": "literal", "value": str(text)}],
                    },
                ],
            } if name in _QUICK:
                return cls(ParsedResult(expression, of), _QUICK[name], text)
        return None

    def find(self, claims: Mapping[str, Any]) -> list[str] | None:
        """What it keeps of a list of texts; None where that is none, for the library to say."""
        texts = self.of.search(claims)
        if not isinstance(texts, list) or not all(type(each) is str for each in texts):
            return None
        return [each for each in texts if self.keeps(each, self.text)]


class Path:
    """A JMESPath over claims."""

    def __init__(self, expression: str) -> None:
        """Compile it.

        Raises:
            BadExpression: if it cannot be.
        """
        self.expression = expression
        try:
            self._compiled = jmespath.compile(expression)
        except JMESPathError as error:
            raise BadExpression(f"{expression!r} is no JMESPath: {' '.join(str(error).split())}") from error
        _demand_functions(expression, self._compiled.parsed)
        self._filter = _TextFilter.in_expression(expression, self._compiled.parsed)

    def find(self, claims: Mapping[str, Any]) -> Any:
        """What it finds; None for nothing.

        Raises:
            UnusableClaims: if the claims are of kinds that its functions do not take.
        """
        try:
            filtered = None if self._filter is None else self._filter.find(claims)
            return self._compiled.search(claims) if filtered is None else filtered
        except _FAILURES as error:
            raise UnusableClaims(f"{self.expression!r} fails: {' '.join(str(error).split())}") from error


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """Where a fact comes from: the steps are done in the order of the fields, and a default stands for nothing."""

    path: Path | None
    """None for a constant."""
    values: Mapping[str, str] | None = None
    """The table that translates what was found; what it does not list counts as not found."""
    first_of: Sequence[str] = ()
    """Of several values the one that stands first here is taken, and others are passed over."""
    default: AttributeValue | None = field(default=None)
    """Or the constant itself."""
    takes_lists: bool = True
    """Whether a list will do, of which one value is left."""

    def one(self, name: str, claims: Mapping[str, Any]) -> str:
        """The one text.

        Raises:
            UnusableClaims: if there is none, or more than one.
        """
        values = self.several(name, claims)
        if self.first_of:
            values = [each for each in self.first_of if each in values][:1]
        if not values and self.default is not None:
            return str(self.default)
        if not values:
            raise UnusableClaims(f"{name}: {self._shown} yields nothing")
        if len(values) > 1:
            raise UnusableClaims(
                f"{name}: {self._shown} yields {len(values)} values where one is needed, {values[0][:40]!r} and others"
            )
        return values[0]

    def several(self, name: str, claims: Mapping[str, Any]) -> list[str]:
        """The texts, each once, before any default.

        Raises:
            UnusableClaims: if what was found is neither a text nor a list of texts.
        """
        found = None if self.path is None else self.path.find(claims)
        if isinstance(found, list) and not self.takes_lists:
            raise UnusableClaims(f"{name}: {self._shown} yields a list where a text is needed")
        texts = [] if found is None else found if isinstance(found, list) else [found]
        for each in texts:
            if not isinstance(each, str):
                raise UnusableClaims(f"{name}: {self._shown} yields {_kind(each)} where a text is needed")
        if self.values is not None:
            texts = [self.values[each] for each in texts if each in self.values]
        return list(dict.fromkeys(texts))

    def any_value(self, name: str, claims: Mapping[str, Any]) -> AttributeValue | None:
        """A value of any kind that a rule can compare; None where there is none.

        Raises:
            UnusableClaims: if what was found is of another kind.
        """
        found = None if self.path is None else self.path.find(claims)
        if isinstance(found, list):
            return tuple(sorted(self.several(name, claims)))
        if isinstance(found, str) and self.values is not None:
            found = self.values.get(found)
        if found is None:
            return self.default
        if isinstance(found, str | bool):
            return found
        if isinstance(found, int) and abs(found) < _LONGEST_NUMBER:
            return found
        raise UnusableClaims(f"{name}: {self._shown} yields {_kind(found)}, which no rule can compare")

    @property
    def _shown(self) -> str:
        return "a constant" if self.path is None else repr(self.path.expression[:_SHOWN_CHARACTERS])


def _demand_functions(expression: str, part: Mapping[str, Any]) -> None:
    """The library looks for functions only when it calls them, which may be long after."""
    if part["type"] == "function_expression":
        known = _FUNCTIONS.get(part["value"])
        if known is None:
            raise BadExpression(f"{expression!r}: JMESPath has no function {part['value']!r}")
        wanted, given = len(known["signature"]), len(part["children"])
        is_variadic = bool(known["signature"]) and known["signature"][-1].get("variadic", False)
        if given < wanted or (given > wanted and not is_variadic):
            raise BadExpression(f"{expression!r}: {part['value']} takes {wanted} arguments, not {given}")
    for child in part["children"]:
        if isinstance(child, Mapping):
            _demand_functions(expression, child)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
