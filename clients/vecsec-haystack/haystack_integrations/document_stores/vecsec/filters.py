"""Haystack's filters as conditions of VecSec.

    {"field": "meta.year", "operator": ">=", "value": 2020}

What VecSec has no condition for is refused: a condition that was left out would widen the answer.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any

from haystack.dataclasses import Document
from haystack.errors import FilterError

from vecsec_client import MetadataFilter, all_of, any_of, equals
from vecsec_client.frameworks.conditions import BOUNDS, as_bound, as_scalar, one_of, refuse_label

_KNOWN = "==, in, >, >=, <, <=, AND, OR"
_NEGATIVE = frozenset({"!=", "not in", "NOT"})
_FIELDS = frozenset(each.name for each in fields(Document))
_JOINING: Mapping[str, Callable[..., MetadataFilter]] = {"AND": all_of, "OR": any_of}


class UnsaidFilterError(FilterError, ValueError):
    """A filter that VecSec has no conditions for."""


def condition_of(filters: Mapping[str, Any] | None, label_keys: Collection[str]) -> MetadataFilter | None:
    """The condition that filters stand for; None for no filters, which Haystack also writes as `{}`.

    `label_keys` are those metadata keys that are the row's label and no metadata.

    Raises:
        FilterError: for what is no filter.
        UnsaidFilterError: naming what cannot be said, and what to do.
        ValueError: for a filter on labels.
    """
    return _condition(filters, label_keys) if filters else None


def refuse_labels(filters: object, label_keys: Collection[str]) -> None:
    """Let through what asks for no label.

    Raises:
        ValueError: naming the key.
    """
    if isinstance(filters, Mapping):
        if isinstance(field := filters.get("field"), str):
            refuse_label(field.removeprefix("meta."), label_keys)
        for each in filters["conditions"] if isinstance(filters.get("conditions"), list) else ():
            refuse_labels(each, label_keys)


def _condition(filters: object, label_keys: Collection[str]) -> MetadataFilter:
    if not isinstance(filters, Mapping):
        raise FilterError(f"filters: must be a dictionary, not {type(filters).__name__}")
    needed = ("field", "operator", "value") if "field" in filters else ("operator", "conditions")
    for name in needed:
        if name not in filters:
            raise FilterError(f"filters: {name!r} is missing in {str(dict(filters))[:80]}")
    operator = filters["operator"]
    if operator in _NEGATIVE:
        raise UnsaidFilterError(
            f"filters: {operator} cannot be said: VecSec knows positive conditions only; name the values that are "
            f"wanted, with one of {_KNOWN}"
        )
    if "field" in filters:
        return _comparison(filters["field"], operator, filters["value"], label_keys)
    if operator not in _JOINING:
        raise FilterError(f"filters: {str(operator)[:80]!r} joins no conditions; use AND or OR")
    if not isinstance(filters["conditions"], list) or not filters["conditions"]:
        raise FilterError(f"filters: {operator} takes a list of at least one filter")
    return _JOINING[operator](*(_condition(each, label_keys) for each in filters["conditions"]))


def _comparison(field: object, operator: object, value: object, label_keys: Collection[str]) -> MetadataFilter:
    key = _key(field)
    refuse_label(key, label_keys)
    if operator == "in" and not isinstance(value, list):
        raise FilterError(f"filters: in of {key!r} takes a list, not {str(value)[:80]!r}")
    try:
        if operator == "==":
            return equals(key, as_scalar(key, value, "the operator in"))
        if operator == "in":
            return one_of(key, "in", value)
        if operator in BOUNDS:
            return BOUNDS[str(operator)](key, as_bound(key, str(operator), value))
    except ValueError as error:
        raise UnsaidFilterError(str(error)) from error
    raise FilterError(f"filters: {str(operator)[:80]!r} of {key!r} is no operator; use one of {_KNOWN}")


def _key(field: object) -> str:
    if not isinstance(field, str):
        raise FilterError(f"filters: a field is a text, not {type(field).__name__}")
    key = field.removeprefix("meta.")
    if "." in key:
        raise UnsaidFilterError(
            f"filters: {field!r} cannot be asked for: it lies within another value; store it under a key of its own"
        )
    if key == field and key in _FIELDS:
        raise UnsaidFilterError(f"filters: {field!r} cannot be asked for, only metadata, such as 'meta.year'")
    return key
