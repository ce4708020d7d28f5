"""Conditions on the documents' metadata and texts. They narrow what the caller may read and can never widen it.

A condition on a key says nothing about documents that lack it: neither it nor its negation holds for them. As in SQL it
is unknown, and `all_of` and `any_of` are decided by what is known, if that suffices: `not_(all_of(equals("a", 1),
equals("b", 2)))` holds for a document without `a` whose `b` is 3.

    all_of(equals("language", "python"), between("year", 2020, 2024), not_(text_contains("deprecated")))
    any_of(not_(equals("state", "draft")), missing("state"))
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from vecsec_client.errors import InvalidArgument
from vecsec_client.several import Several
from vecsec_client.sources import all_parts
from vecsec_client.values import Scalar


@dataclass(frozen=True, slots=True)
class Equals:
    """The key has this value, of the same type."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """The key has one of these values, all of one type."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The key's number lies between these bounds; None leaves a side open."""

    key: str
    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    less_than: float | None = None


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of these hold."""

    filters: "tuple[MetadataFilter, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these holds."""

    filters: "tuple[MetadataFilter, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """This is known not to hold: of a single condition, not for documents that lack its key."""

    filter: "MetadataFilter"


@dataclass(frozen=True, slots=True)
class Exists:
    """The key is there, whatever its value."""

    key: str


@dataclass(frozen=True, slots=True)
class TextContains:
    """The document's text contains this one, at most 1 KiB, character by character: case counts."""

    text: str


@dataclass(frozen=True, slots=True)
class OfSources:
    """The document is a passage of one of these sources."""

    source_ids: tuple[str, ...]


MetadataFilter: TypeAlias = Equals | In | Range | AllOf | AnyOf | Not | Exists | TextContains | OfSources


def equals(key: str, value: Scalar) -> Equals:
    """The key has this value, of the same type."""
    return Equals(key, value)


def in_(key: str, values: Several[Scalar] | Iterator[Scalar]) -> In:
    """The key has one of these values.

    Raises:
        InvalidArgument: if `values` is one text, or no list.
    """
    if isinstance(values, str):  # the letters of which `tuple` would make
        raise InvalidArgument.of("values", f"must be a list, not the one text {values[:80]!r}; see equals()")
    try:
        return In(key, tuple(values))
    except TypeError as error:
        raise InvalidArgument.of("values", f"must be a list, not {values!r:.80}; see equals()") from error


def of_source(*source_ids: str) -> OfSources:
    """The document is a passage of one of these sources, at most 256; of a large file's parts, see `of_file`."""
    return OfSources(source_ids)


def of_file(file: str) -> OfSources:
    """The document is a passage of this source, or of one of those that `vecsec import` makes of a large file beside
    it: `FILE#part2` and so on. Of what is itself called so, it is that part alone."""
    return OfSources(all_parts(file))


def between(key: str, low: float, high: float) -> Range:
    """The key's number lies between these, both included."""
    return Range(key, at_least=low, at_most=high)


def at_least(key: str, bound: float) -> Range:
    """The key's number is this or more."""
    return Range(key, at_least=bound)


def more_than(key: str, bound: float) -> Range:
    """The key's number is more than this."""
    return Range(key, more_than=bound)


def at_most(key: str, bound: float) -> Range:
    """The key's number is this or less."""
    return Range(key, at_most=bound)


def less_than(key: str, bound: float) -> Range:
    """The key's number is less than this."""
    return Range(key, less_than=bound)


def all_of(*filters: MetadataFilter) -> AllOf:
    """All of these hold."""
    return AllOf(filters)


def any_of(*filters: MetadataFilter) -> AnyOf:
    """At least one of these holds."""
    return AnyOf(filters)


def not_(condition: MetadataFilter) -> Not:
    """This is known not to hold: of a single condition, not for documents that lack its key."""
    return Not(condition)


def exists(key: str) -> Exists:
    """The key is there, whatever its value."""
    return Exists(key)


def missing(key: str) -> Not:
    """The key is not there."""
    return Not(Exists(key))


def text_contains(text: str) -> TextContains:
    """The document's text contains this one, at most 1 KiB, character by character: case counts."""
    return TextContains(text)
