"""Refuses Cedar text that would end the process: the parser recurses, and on deep nesting it overflows the stack.

Measured with cedarpy 4.12 on a stack of 8 MiB: 1,000 nested parentheses, 5,000 chained `if … else` or 20,000 chained
`&&` are a segmentation fault. The bounds lie far below that and far above what people write.
"""

import re
from collections.abc import Mapping

from vecsec_chassis.domain.errors import ConfigurationError

_MAXIMUM_POLICY_CHARACTERS = 64 * 1024
_MAXIMUM_BRACKETS = 60
_MAXIMUM_OPERATORS = 1_000
_MAXIMUM_JSON_LEVELS = 115
"""Cedar's JSON reader takes 128 levels, of which a policy set needs some itself: a chain of 50 operators."""

_TOKEN = re.compile(
    r"""//[^\n]*|"(?:\\.|[^"\\])*"|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<operator>&&|\|\||[-+*.!]|\bif\b)""", re.DOTALL
)


def check_policy(place: str, text: str) -> None:
    """See that one policy can be given to Cedar's parser; `place` is for the complaint.

    Raises:
        ConfigurationError: if it is too long, too deeply nested or a too long chain.
    """
    if len(text) > _MAXIMUM_POLICY_CHARACTERS:
        raise ConfigurationError(
            f"{place}: the policy is longer than {_MAXIMUM_POLICY_CHARACTERS:,} characters; split it"
        )
    operators = _check_brackets(place, text)
    if operators > _MAXIMUM_OPERATORS:
        raise ConfigurationError(f"{place}: the policy has more than {_MAXIMUM_OPERATORS:,} operators; split it")


def check_schema(place: str, text: str) -> None:
    """See that a schema can be given to Cedar's parser.

    Raises:
        ConfigurationError: if it is too deeply nested.
    """
    # In a schema `<` and `>` do not compare: they enclose the type of a set's members.
    _check_brackets(place, text.replace("<", "(").replace(">", ")"))


def check_parsed(place: str, policy: Mapping[str, object]) -> None:
    """See that a parsed policy can be read back from Cedar's JSON format, in which it travels.

    Raises:
        ConfigurationError: if it is too deep for that.
    """
    level: list[object] = [policy]
    for _ in range(_MAXIMUM_JSON_LEVELS):
        level = [member for part in level for member in _members(part)]
        if not level:
            return
    raise ConfigurationError(
        f"{place}: the policy chains or nests more than about 50 operators; write a set and `contains`, or split it"
    )


def _members(part: object) -> list[object]:
    if isinstance(part, dict):
        return list(part.values())
    return part if isinstance(part, list) else []


def _check_brackets(place: str, text: str) -> int:
    """Refuse deep nesting; the number of operators outside strings and comments."""
    depth = operators = 0
    for token in _TOKEN.finditer(text):
        depth += (token["open"] is not None) - (token["close"] is not None)
        operators += token["operator"] is not None
        if depth > _MAXIMUM_BRACKETS:
            line = text.count("\n", 0, token.start())
            where = f", {line} lines further" if line else ""
            raise ConfigurationError(f"{place}{where}: brackets are nested more than {_MAXIMUM_BRACKETS} deep")
    return operators
