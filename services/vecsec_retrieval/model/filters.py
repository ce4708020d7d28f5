"""Conditions on the callers' own metadata and on texts: values, their meaning, and their limits.

Types are strict: a boolean is not a number, a text is neither; whole and floating-point numbers compare as numbers.
A document that lacks a key never matches a condition on it, nor the negation of one; `Exists` asks for the key itself.
So a negation is brought down to the conditions (not all of these: any of their negations), and each of these looks for
its key first.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_retrieval.model.rows import Document, Metadata, MetadataValue
from vecsec_retrieval.model.sources import is_of_caller

MAXIMUM_DEPTH = 8
MAXIMUM_CONDITIONS = 64
MAXIMUM_TEXT_CONDITIONS = 8
"""A text may be as large as 1 MiB, and is read as a whole for each."""


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


@dataclass(frozen=True, slots=True)
class Not:
    """This is known not to hold: a comparison is unknown where its key is not there."""

    filter: "MetadataFilter"


@dataclass(frozen=True, slots=True)
class Exists:
    """The key is there."""

    key: str


@dataclass(frozen=True, slots=True)
class TextContains:
    """The document's text contains this one, character by character."""

    text: str


MetadataFilter: TypeAlias = Equals | In | Range | AllOf | AnyOf | Not | Exists | TextContains
Predicate: TypeAlias = Callable[[Metadata, Callable[[], str]], bool]
"""Whether a document matches, by its metadata and its text, which is asked for only if it matters."""


def kind_of(value: MetadataValue) -> str:
    """The kind by which values compare: only values of one kind can be equal."""
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def kinds_of_values(rows: Iterable[Metadata], keys: Collection[str]) -> dict[str, frozenset[str]]:
    """Of which kinds the values of these keys are."""
    kinds: dict[str, set[str]] = {key: set() for key in keys}
    for metadata in rows:
        for key, found in kinds.items():
            if (value := metadata.get(key)) is not None:
                found.add(kind_of(value))
    return {key: frozenset(found) for key, found in kinds.items()}


def predicate(condition: MetadataFilter) -> Predicate:
    """The condition as a function of a document's metadata and text."""
    return _holds(condition) if _is_negated_nowhere(condition) else _holds(negations_at_leaves(condition))


def of_document(condition: MetadataFilter | None) -> Callable[[Document], bool]:
    """The condition as a function of a document; None holds for all."""
    if condition is None:
        return lambda _document: True
    holds = predicate(condition)
    return lambda document: holds(document.metadata, lambda: document.text)


def looks_at_texts(condition: MetadataFilter) -> bool:
    """Whether documents' texts are read to decide."""
    return any(isinstance(part, TextContains) for _, _, part in _walk(condition, "filter"))


def _is_negated_nowhere(condition: MetadataFilter) -> bool:
    return not any(isinstance(part, Not) for _, _, part in _walk(condition, "filter"))


def negations_at_leaves(condition: MetadataFilter, *, is_negated: bool = False) -> MetadataFilter:
    """The same with negations of single conditions alone."""
    match condition:
        case Not(inner):
            return negations_at_leaves(inner, is_negated=not is_negated)
        case AllOf(filters) | AnyOf(filters):
            combination = AllOf if isinstance(condition, AllOf) is not is_negated else AnyOf
            return combination(tuple(negations_at_leaves(part, is_negated=is_negated) for part in filters))
    return Not(condition) if is_negated else condition


def _holds(condition: MetadataFilter) -> Predicate:
    """As `predicate`, where negations are of single conditions."""
    match condition:
        case AllOf(filters):
            parts = [_holds(part) for part in filters]
            return lambda metadata, text: all(part(metadata, text) for part in parts)
        case AnyOf(filters):
            parts = [_holds(part) for part in _joined(filters)]
            return parts[0] if len(parts) == 1 else lambda metadata, text: any(part(metadata, text) for part in parts)
    is_negated, single = (True, condition.filter) if isinstance(condition, Not) else (False, condition)
    match single:
        case Exists(key):
            return lambda metadata, _text: (key in metadata) is not is_negated
        case TextContains(wanted):
            return lambda _metadata, text: (wanted in text()) is not is_negated
    is_so, of = _of_value(single), key_of(single)
    return lambda metadata, _text: (value := metadata.get(of)) is not None and is_so(value) is not is_negated


def _of_value(condition: MetadataFilter) -> Callable[[MetadataValue], bool]:
    """A comparison as a function of the value that its key has."""
    match condition:
        case Equals(_, value):
            return _membership((value,))
        case In(_, values):
            return _membership(values)
        case Range():
            return _bounds(condition)
    raise TypeError(f"not a comparison: {condition!r}")


def key_of(condition: MetadataFilter) -> str:
    """The key that a comparison looks at; empty for what looks at none."""
    return condition.key if isinstance(condition, Equals | In | Range) else ""


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
    leaves = texts = 0
    for path, depth, part in _walk(condition, "filter"):
        if depth > MAXIMUM_DEPTH:
            raise InvalidRequest.of("filter", f"is nested more than {MAXIMUM_DEPTH} levels deep")
        if isinstance(part, In) and len({kind_of(value) for value in part.values}) > 1:
            raise InvalidRequest.of(f"{path}.values", "must all be of one kind: texts, numbers or booleans")
        leaves += not isinstance(part, AllOf | AnyOf | Not)
        texts += isinstance(part, TextContains)
        if texts > MAXIMUM_TEXT_CONDITIONS:
            raise InvalidRequest.of("filter", f"looks at texts more than {MAXIMUM_TEXT_CONDITIONS} times")
        if leaves > MAXIMUM_CONDITIONS:
            raise InvalidRequest.of("filter", f"has more than {MAXIMUM_CONDITIONS} conditions")


def refuse_unknown_keys(condition: MetadataFilter, known: Collection[str]) -> None:
    """Catch misspelt keys, which would match nothing in silence. Whether a key exists may be asked of any.

    Raises:
        InvalidRequest: naming every key that is not among the known ones.
    """
    violations = [
        FieldViolation(f"{path}.key", f"no document that you may read has the metadata key {part.key!r}")
        for path, _, part in _walk(condition, "filter")
        if isinstance(part, Equals | In | Range) and is_of_caller(part.key) and part.key not in known
    ]
    if violations:
        raise InvalidRequest(violations)


def conditions(condition: MetadataFilter) -> Iterator[tuple[str, MetadataFilter]]:
    """All conditions of a filter, each with its path in the request."""
    for path, _, part in _walk(condition, "filter"):
        yield path, part


def _walk(condition: MetadataFilter, path: str, depth: int = 1) -> Iterator[tuple[str, int, MetadataFilter]]:
    path = f"{path}.{_FIELD_OF_KIND[type(condition)]}"
    yield path, depth, condition
    if isinstance(condition, AllOf | AnyOf):
        for index, part in enumerate(condition.filters):
            yield from _walk(part, f"{path}.filters[{index}]", depth + 1)
    elif isinstance(condition, Not):
        yield from _walk(condition.filter, f"{path}.filter", depth + 1)


_FIELD_OF_KIND: dict[type, str] = {
    Equals: "equals",
    In: "in",
    Range: "range",
    AllOf: "all_of",
    AnyOf: "any_of",
    Not: "not",
    Exists: "exists",
    TextContains: "text_contains",
}


def _membership(values: tuple[MetadataValue, ...]) -> Callable[[MetadataValue], bool]:
    members = frozenset((kind_of(value), value) for value in values)
    return lambda value: (kind_of(value), value) in members


def _bounds(bounds: Range) -> Callable[[MetadataValue], bool]:
    at_least, more_than, at_most, less_than = bounds.at_least, bounds.more_than, bounds.at_most, bounds.less_than

    def holds(value: MetadataValue) -> bool:
        if isinstance(value, bool | str):
            return False
        return (
            (at_least is None or value >= at_least)
            and (more_than is None or value > more_than)
            and (at_most is None or value <= at_most)
            and (less_than is None or value < less_than)
        )

    return holds
