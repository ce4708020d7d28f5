"""Conditions as typed on the command line: `language=python`, `year>=2020`."""

import re
from collections.abc import Iterable

from vecsec_cli.options import scalar
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import MetadataFilter, all_of, at_least, at_most, equals, less_than, more_than

_EXPRESSION = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.-]*)\s*(>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_BOUNDS = {">=": at_least, ">": more_than, "<=": at_most, "<": less_than}


def parse_filters(expressions: Iterable[str]) -> MetadataFilter | None:
    """The condition that all expressions together make; None if there are none.

    Raises:
        CommandFailure: naming the expression that is not one.
    """
    conditions = [_parse(expression) for expression in expressions]
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else all_of(*conditions)


def _parse(expression: str) -> MetadataFilter:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise CommandFailure(
            f"--filter {expression!r} is not a condition",
            hint="write key=value, key>=number, key>number, key<=number or key<number",
        )
    key, operator, text = match.groups()
    value = scalar(text)
    if operator == "=":
        return equals(key, value)
    if isinstance(value, str | bool):
        raise CommandFailure(f"--filter {expression!r}: {operator} compares with a number, not with {text!r}")
    return _BOUNDS[operator](key, value)
