"""Conditions in Chroma's own words. The parts come from typed values alone, so nothing can be injected.

What Chroma finds by them may be more than what matches, as it compares whole with floating-point numbers by cutting
or rounding one of them; it is never less. What Chroma has no words for is left out: negations of numbers (for the same
reason they would find less), whether a key exists, and texts, of which its index knows pieces of three characters.
"""

import functools
from collections.abc import Iterator
from typing import cast

from chromadb.api.types import Where

from vecsec_retrieval.model.filters import (
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    Range,
    TextContains,
    negations_at_leaves,
)
from vecsec_retrieval.model.rows import MetadataValue
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.visibility.tagging import LABEL_KEY, METADATA_PREFIX

_Clause = dict[str, object]
_LARGEST_WHOLE_NUMBER = 2.0**63
_LABEL_KEYS_A_QUERY = 10_000
_MOST_METADATA_VALUES = 10_000
"""SQLite takes 32,766 values in a query; Chroma sends each number of a metadata condition twice."""


def wheres(condition: RowCondition) -> Iterator[Where | None]:
    """The condition as one or more of Chroma's `where`, none of which matches a row of another; None matches all.

    A metadata condition of more values than a query can hold is left out: then rows are found that do not match it.
    """
    metadata: list[_Clause] = []
    if condition.metadata is not None and _count_values(condition.metadata) <= _MOST_METADATA_VALUES:
        clause = _clause(negations_at_leaves(condition.metadata))
        metadata += [] if clause is None else [clause]
    if condition.label_keys is None:
        yield cast("Where", metadata[0]) if metadata else None
        return
    keys = sorted(condition.label_keys)
    for start in range(0, len(keys), _LABEL_KEYS_A_QUERY):
        labels: _Clause = {LABEL_KEY: {"$in": keys[start : start + _LABEL_KEYS_A_QUERY]}}
        yield cast("Where", _combined("$and", [labels, *metadata]))


def _count_values(condition: MetadataFilter) -> int:
    match condition:
        case AllOf(parts) | AnyOf(parts):
            return sum(_count_values(part) for part in parts)
        case In(_, values):
            return len(values)
        case Not(inner):
            return _count_values(inner)
    return 1


def _combined(operator: str, parts: list[_Clause]) -> _Clause:
    return parts[0] if len(parts) == 1 else {operator: parts}  # Chroma refuses to combine fewer than two


@functools.singledispatch
def _clause(condition: MetadataFilter) -> _Clause | None:
    """None if Chroma is not to look at it."""
    raise TypeError(f"not a filter: {condition!r}")


@_clause.register
def _(condition: Equals) -> _Clause:
    return {METADATA_PREFIX + condition.key: {"$eq": condition.value}}


@_clause.register
def _(condition: In) -> _Clause:
    by_type: dict[type, list[MetadataValue]] = {}  # Chroma wants lists of one type, and compares int with float itself
    for value in condition.values:
        by_type.setdefault(type(value), []).append(value)
    return _combined("$or", [{METADATA_PREFIX + condition.key: {"$in": values}} for values in by_type.values()])


@_clause.register
def _(condition: Range) -> _Clause:
    bounds = (
        ("$gte", condition.at_least),
        ("$gt", condition.more_than),
        ("$lte", condition.at_most),
        ("$lt", condition.less_than),
    )
    key = METADATA_PREFIX + condition.key
    clauses: list[_Clause] = [
        {key: {_operator(name, float(bound)): float(bound)}} for name, bound in bounds if bound is not None
    ]
    return _combined("$and", clauses)


def _operator(name: str, bound: float) -> str:
    """The operator, made inclusive where Chroma would leave out whole numbers that do match.

    It compares them with the bound cut off to a 64-bit whole number: -3 < -2.5 would be asked as -3 < -2, and so on.
    """
    is_cut = not bound.is_integer() or abs(bound) >= _LARGEST_WHOLE_NUMBER
    return {"$gt": "$gte", "$lt": "$lte"}.get(name, name) if is_cut else name


@_clause.register
def _(condition: AllOf) -> _Clause | None:
    parts = [part for part in map(_clause, condition.filters) if part is not None]
    return _combined("$and", parts) if parts else None


@_clause.register
def _(condition: AnyOf) -> _Clause | None:
    parts = [part for part in map(_clause, condition.filters) if part is not None]
    return _combined("$or", parts) if len(parts) == len(condition.filters) else None


@_clause.register
def _(condition: Not) -> _Clause | None:
    """Chroma's negations match rows that lack the key, too, of which none matches."""
    match condition.filter:
        case Equals(key, value) if isinstance(value, str | bool):
            return {METADATA_PREFIX + key: {"$ne": value}}
        case In(key, values) if all(isinstance(value, str | bool) for value in values):
            return {METADATA_PREFIX + key: {"$nin": list(values)}}
    return None


@_clause.register
def _(_condition: Exists | TextContains) -> None:
    return None
