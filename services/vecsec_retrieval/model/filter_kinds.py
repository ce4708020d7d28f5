"""Comparisons that hold for no value that there is, for it is of another kind: a number compared with texts, say."""

from collections.abc import Iterator, Mapping

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_retrieval.model.filters import Equals, In, MetadataFilter, Range, conditions, kind_of


def compared_keys(condition: MetadataFilter) -> frozenset[str]:
    """The keys that are compared with a value."""
    return frozenset(part.key for _, part in _comparisons(condition))


def foreign_kinds(condition: MetadataFilter, kinds: Mapping[str, frozenset[str]]) -> InvalidRequest | None:
    """What is said where a filter that nothing matches compares a key with what none of its values is: each such
    comparison is named. None if there is none.

    `kinds` has the kinds of values of each key among documents that the caller may read, and of no others: what hidden
    documents hold is nobody's to hear.
    """
    violations = [
        FieldViolation(
            f"{path}.key",
            f"{part.key!r} is compared with a {_kind(part)}, but in the documents that you may read it is always a "
            + " or a ".join(sorted(kinds[part.key])),
        )
        for path, part in _comparisons(condition)
        if kinds.get(part.key) and _kind(part) not in kinds[part.key]
    ]
    return InvalidRequest(violations) if violations else None


def _comparisons(condition: MetadataFilter) -> Iterator[tuple[str, Equals | In | Range]]:
    for path, part in conditions(condition):
        if isinstance(part, Equals | In | Range):
            yield path, part


def _kind(comparison: Equals | In | Range) -> str:
    match comparison:
        case Equals(_, value):
            return kind_of(value)
        case In(_, values):
            return kind_of(values[0])
        case Range():
            return "number"
