"""Parts of filters, from values that people give.

What cannot be said is an error that names it: left out, it would widen the answer.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

from vecsec_client.filters import (
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    OfSources,
    Range,
    TextContains,
    any_of,
    at_least,
    at_most,
    in_,
    less_than,
    more_than,
)
from vecsec_client.values import Scalar

BOUNDS: Mapping[str, Callable[[str, float], MetadataFilter]] = {
    ">": more_than,
    ">=": at_least,
    "<": less_than,
    "<=": at_most,
}
"""Conditions on a number, by the sign that frameworks write."""

Metadata: TypeAlias = Mapping[str, object]


def refuse_label(key: str, label_keys: Collection[str]) -> None:
    """Ask for no label.

    Raises:
        ValueError: if the key stands for a part of the row's label and for no metadata.
    """
    if key in label_keys:
        raise ValueError(
            f"filter: {key!r} is the row's label, which no filter asks for: who may read what is the policy's to say; "
            "if it is metadata of your own, turn the label key off (LabelKeys)"
        )


def as_scalar(key: str, value: object, for_several: str) -> Scalar:
    """The value, if a row can have it; `for_several` is how the framework asks for any of several values.

    Raises:
        ValueError: if none can.
    """
    if isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"filter: the value of {key!r} is a list; for any of several values write {for_several}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"filter: the value of {key!r} is {value}, which no row has")
    if not isinstance(value, str | int | float | bool):
        raise ValueError(
            f"filter: the value of {key!r} must be a text, a number or a boolean, not {type(value).__name__}"
        )
    return value


def as_bound(key: str, operator: str, value: object) -> float:
    """The number, if conditions can compare with it exactly.

    Raises:
        ValueError: if they cannot.
    """
    refusal = f"filter: {operator} of {key!r} takes a finite number, not {str(value)[:80]!r}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(refusal)
    try:
        bound = float(value)
    except OverflowError as error:
        raise ValueError(refusal) from error
    if not math.isfinite(bound):
        raise ValueError(refusal)
    if bound != value:
        raise ValueError(f"filter: {operator} of {key!r}: bounds are 64-bit floats, and {value} is none exactly")
    return bound


def one_of(key: str, operator: str, values: object) -> MetadataFilter:
    """The key has one of these values, of whatever kinds.

    Raises:
        ValueError: if they are no list of at least one value that a row can have.
    """
    if not isinstance(values, list | tuple | set | frozenset) or not values:
        raise ValueError(f"filter: {operator} of {key!r} takes a list of at least one value, not {str(values)[:80]!r}")
    by_kind: dict[type, list[Scalar]] = {}
    for value in values:
        scalar = as_scalar(key, value, "one list")
        by_kind.setdefault(_comparable_type(scalar), []).append(scalar)
    parts = [in_(key, alike) for alike in by_kind.values()]
    return parts[0] if len(parts) == 1 else any_of(*parts)


def holds(condition: MetadataFilter, metadata: Metadata, text: str) -> bool:
    """Whether a row with this metadata and text meets the condition, as the services decide it.

    Raises:
        ValueError: for a condition on sources, of which metadata say nothing.
    """
    return _truth(condition, metadata, text) is True


def _truth(condition: MetadataFilter, metadata: Metadata, text: str) -> bool | None:
    """None where a key is compared that is not there, and nothing else decides."""
    match condition:
        case AllOf(parts):
            return _all([_truth(part, metadata, text) for part in parts])
        case AnyOf(parts):
            return _not(_all([_not(_truth(part, metadata, text)) for part in parts]))
        case Not(inner):
            return _not(_truth(inner, metadata, text))
        case Exists(key):
            return key in metadata
        case TextContains(wanted):
            return wanted in text
        case OfSources():
            raise ValueError("filter: metadata do not say of which source a document is a passage")
    return _compares(condition, metadata[condition.key]) if condition.key in metadata else None


def _all(parts: Sequence[bool | None]) -> bool | None:
    if False in parts:
        return False
    return None if None in parts else True


def _not(part: bool | None) -> bool | None:
    return None if part is None else not part


def _compares(condition: Equals | In | Range, value: object) -> bool:
    match condition:
        case Equals(_, wanted):
            return _alike(value, wanted)
        case In(_, values):
            return any(_alike(value, wanted) for wanted in values)
        case Range():
            return _within(condition, value)


def _alike(one: object, other: object) -> bool:
    return _comparable_type(one) is _comparable_type(other) and one == other


def _comparable_type(value: object) -> type:
    """Whole and other numbers compare as numbers; a boolean is none."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _within(bounds: Range, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (
        (bounds.at_least is None or value >= bounds.at_least)
        and (bounds.more_than is None or value > bounds.more_than)
        and (bounds.at_most is None or value <= bounds.at_most)
        and (bounds.less_than is None or value < bounds.less_than)
    )
