"""Conditions on the callers' own metadata: values, their meaning, and their limits.

Types are strict: a boolean is not a number, a text is neither; whole and floating-point numbers compare as numbers.
A document that lacks a key never matches a condition on it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_retrieval.model.rows import Metadata, MetadataValue
from vecsec_retrieval.model.sources import is_of_caller

MAXIMUM_DEPTH = 8
MAXIMUM_CONDITIONS = 64


@dataclass(frozen=True, slots=True)
class Equals:
    """The key has this value."""

    key: str
    value: MetadataValue


@dataclass(frozen=True, slots=True)
class In:
    """The key has one of these values, which are all of one kind."""

    key: str
    values: tuple[MetadataValue, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The key's number lies between these bounds."""

    key: str
    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    less_than: float | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of these hold."""

    filters: tuple["MetadataFilter", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these holds."""

    filters: tuple["MetadataFilter", ...]


MetadataFilter: TypeAlias = Equals | In | Range | AllOf | AnyOf
Predicate: TypeAlias = Callable[[Metadata], bool]


def kind_of(value: MetadataValue) -> str:
    """The kind by which values compare: only values of one kind can be equal."""
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def predicate(condition: MetadataFilter) -> Predicate:
    """The condition as a function of a document's metadata."""
    match condition:
        case Equals(key, value):
            return _membership(key, (value,))
        case In(key, values):
            return _membership(key, values)
        case Range():
            return _bounds(condition)
        case AllOf(filters):
            parts = [predicate(part) for part in filters]
            return lambda metadata: all(part(metadata) for part in parts)
        case AnyOf(filters):
            parts = [predicate(part) for part in _joined(filters)]
            return parts[0] if len(parts) == 1 else lambda metadata: any(part(metadata) for part in parts)


def _joined(filters: Iterable[MetadataFilter]) -> Iterator[MetadataFilter]:
    """The same alternatives with all values of one key in one: it is looked up once a row, however many there are."""
    values: dict[str, list[MetadataValue]] = {}
    for part in filters:
        match part:
            case Equals(key, value):
                values.setdefault(key, []).append(value)
            case In(key, listed):
                values.setdefault(key, []).extend(listed)
            case _:
                yield part
    for key, alternatives in values.items():
        yield In(key, tuple(alternatives))


def refuse_oversized(condition: MetadataFilter) -> None:
    """Hold a filter to its limits.

    Raises:
        InvalidRequest: if it is nested too deeply, has too many conditions, or mixes kinds of values in one list.
    """
    leaves = 0
    for path, depth, part in _walk(condition, "filter"):
        if depth > MAXIMUM_DEPTH:
            raise InvalidRequest.of("filter", f"is nested more than {MAXIMUM_DEPTH} levels deep")
        if isinstance(part, In) and len({kind_of(value) for value in part.values}) > 1:
            raise InvalidRequest.of(f"{path}.values", "must all be of one kind: texts, numbers or booleans")
        leaves += not isinstance(part, AllOf | AnyOf)
        if leaves > MAXIMUM_CONDITIONS:
            raise InvalidRequest.of("filter", f"has more than {MAXIMUM_CONDITIONS} conditions")


def refuse_unknown_keys(condition: MetadataFilter, known: Collection[str]) -> None:
    """Catch misspelt keys, which would match nothing in silence.

    Raises:
        InvalidRequest: naming every key that is not among the known ones.
    """
    violations = [
        FieldViolation(f"{path}.key", f"no document that you may read has the metadata key {part.key!r}")
        for path, _, part in _walk(condition, "filter")
        if not isinstance(part, AllOf | AnyOf) and is_of_caller(part.key) and part.key not in known
    ]
    if violations:
        raise InvalidRequest(violations)


def _walk(condition: MetadataFilter, path: str, depth: int = 1) -> Iterator[tuple[str, int, MetadataFilter]]:
    path = f"{path}.{_FIELD_OF_KIND[type(condition)]}"
    yield path, depth, condition
    if isinstance(condition, AllOf | AnyOf):
        for index, part in enumerate(condition.filters):
            yield from _walk(part, f"{path}.filters[{index}]", depth + 1)


_FIELD_OF_KIND: dict[type, str] = {Equals: "equals", In: "in", Range: "range", AllOf: "all_of", AnyOf: "any_of"}


def _membership(key: str, values: tuple[MetadataValue, ...]) -> Predicate:
    members = frozenset((kind_of(value), value) for value in values)

    def holds(metadata: Metadata) -> bool:
        value = metadata.get(key)
        return value is not None and (kind_of(value), value) in members

    return holds


def _bounds(bounds: Range) -> Predicate:
    at_least, more_than, at_most, less_than = bounds.at_least, bounds.more_than, bounds.at_most, bounds.less_than

    def holds(metadata: Metadata) -> bool:
        value = metadata.get(bounds.key)
        if value is None or isinstance(value, bool | str):
            return False
        return (
            (at_least is None or value >= at_least)
            and (more_than is None or value > more_than)
            and (at_most is None or value <= at_most)
            and (less_than is None or value < less_than)
        )

    return holds
