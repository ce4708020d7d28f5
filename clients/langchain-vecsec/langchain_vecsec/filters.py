"""Filters as LangChain's users write them, as conditions of VecSec.

    {"kind": "memo", "year": {"$gte": 2020, "$lt": 2024}}
    {"$or": [{"kind": "memo"}, {"author": {"$in": ["alice", "bob"]}}]}

What VecSec has no condition for is refused: a condition that was left out would widen the answer.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from vecsec_client import (
    AllOf,
    AnyOf,
    Equals,
    In,
    MetadataFilter,
    Range,
    all_of,
    any_of,
    at_least,
    at_most,
    equals,
    in_,
    less_than,
    more_than,
)
from vecsec_client.frameworks.conditions import as_bound, as_scalar, refuse_label

Filter: TypeAlias = Mapping[str, Any] | MetadataFilter

_CONDITIONS = (AllOf, AnyOf, Equals, In, Range)
_BOUNDS: Mapping[str, Callable[[str, float], MetadataFilter]] = {
    "$gt": more_than,
    "$gte": at_least,
    "$lt": less_than,
    "$lte": at_most,
}
_SEVERAL = "{'$in': [...]}"
_KNOWN = "$eq, $in, $gt, $gte, $lt, $lte, $and, $or"
_NEGATIVE = frozenset({"$ne", "$nin", "$not", "$nor", "$exists"})


def condition_of(given: Filter | None, label_keys: Collection[str]) -> MetadataFilter | None:
    """The condition that a filter stands for; None for no filter.

    `label_keys` are those metadata keys that are the row's label and no metadata.

    Raises:
        ValueError: naming what cannot be said, and what to do.
    """
    if given is None or isinstance(given, _CONDITIONS):
        return given
    return _all(given, label_keys)


def _all(given: object, label_keys: Collection[str]) -> MetadataFilter:
    if isinstance(given, _CONDITIONS):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"filter: must be a dictionary or a condition of vecsec_client, not {type(given).__name__}")
    if not given:
        raise ValueError("filter: an empty dictionary says nothing; give None for no filter")
    parts = [part for key, value in given.items() for part in _of_entry(key, value, label_keys)]
    return parts[0] if len(parts) == 1 else all_of(*parts)


def _of_entry(key: object, value: object, label_keys: Collection[str]) -> list[MetadataFilter]:
    if not isinstance(key, str):
        raise ValueError(f"filter: keys are texts, not {type(key).__name__}")
    if key in {"$and", "$or"}:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"filter: {key} takes a list of at least one filter")
        parts = [_all(each, label_keys) for each in value]
        return [all_of(*parts) if key == "$and" else any_of(*parts)]
    if key.startswith("$"):
        raise _unknown(key)
    refuse_label(key, label_keys)
    if not isinstance(value, Mapping):
        return [equals(key, as_scalar(key, value, _SEVERAL))]
    if not value:
        raise ValueError(f"filter: {key!r} has no condition; write {{{key!r}: VALUE}} or use one of {_KNOWN}")
    return [_of_operator(key, operator, operand) for operator, operand in value.items()]


def _of_operator(key: str, operator: object, operand: object) -> MetadataFilter:
    if operator == "$eq":
        return equals(key, as_scalar(key, operand, _SEVERAL))
    if operator == "$in":
        if not isinstance(operand, list | tuple | set | frozenset) or not operand:
            raise ValueError(f"filter: $in of {key!r} takes a list of at least one value")
        return in_(key, tuple(as_scalar(key, each, _SEVERAL) for each in operand))
    if isinstance(operator, str) and operator in _BOUNDS:
        return _BOUNDS[operator](key, as_bound(key, operator, operand))
    raise _unknown(operator, key)


def _unknown(operator: object, key: str = "") -> ValueError:
    of_key = f" of {key!r}" if key else ""
    if operator in _NEGATIVE:
        return ValueError(
            f"filter: {operator}{of_key} cannot be said: VecSec knows positive conditions only; name the values that "
            f"are wanted, with one of {_KNOWN}"
        )
    return ValueError(f"filter: {str(operator)[:80]!r}{of_key} is no operator; use one of {_KNOWN}")
