"""Conditions as typed on the command line: `language=python`, `year>=2020`, `state!=draft`, `title?`, `~some words`; an
exclamation mark in front negates any of them."""

import re
from collections.abc import Iterable

from vecsec_cli.options import scalar
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import (
    MetadataFilter,
    all_of,
    at_least,
    at_most,
    equals,
    exists,
    less_than,
    more_than,
    not_,
    text_contains,
)

_KEY = r"\s*([A-Za-z][A-Za-z0-9_.-]*)\s*"
_EXPRESSION = re.compile(_KEY + r"(>=|<=|!=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_EXISTENCE = re.compile(_KEY + r"\?\s*")
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
    bare = expression.lstrip()
    if bare.startswith("!"):
        return not_(_parse_positive(bare[1:].lstrip(), expression))
    return _parse_positive(bare, expression)


def _parse_positive(bare: str, expression: str) -> MetadataFilter:
    if bare.startswith("~") and len(bare) > 1:
        return text_contains(bare[1:])
    if existence := _EXISTENCE.fullmatch(bare):
        return exists(existence.group(1))
    return _comparison(bare, expression)


def _comparison(bare: str, expression: str) -> MetadataFilter:
    match = _EXPRESSION.fullmatch(bare)
    if match is None:
        raise CommandFailure(
            f"--filter {expression!r} is not a condition",
            hint="write key=value, key!=value, key>=number, key>number, key<=number, key<number, key? or ~text",
        )
    key, operator, text = match.groups()
    value = scalar(text)
    if operator == "=":
        return equals(key, value)
    if operator == "!=":
        return not_(equals(key, value))
    if isinstance(value, str | bool):
        raise CommandFailure(f"--filter {expression!r}: {operator} compares with a number, not with {text!r}")
    return _BOUNDS[operator](key, value)
