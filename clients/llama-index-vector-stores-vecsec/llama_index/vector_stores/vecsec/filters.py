"""LlamaIndex's filters as conditions of VecSec.

    MetadataFilters(filters=[MetadataFilter(key="year", operator=">=", value=2020)])

What VecSec has no condition for is refused: a condition that was left out would widen the answer.
"""

from collections.abc import Collection

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from vecsec_client import MetadataFilter as Condition
from vecsec_client import all_of, any_of, equals
from vecsec_client.frameworks.conditions import BOUNDS, as_bound, as_scalar, one_of, refuse_label

_KNOWN = "==, in, >, >=, <, <= and the conditions and, or"
_NEGATIVE = frozenset({FilterOperator.NE, FilterOperator.NIN, FilterOperator.IS_EMPTY})
_OF_LISTS = frozenset({FilterOperator.ANY, FilterOperator.ALL, FilterOperator.CONTAINS})


def condition_of(filters: MetadataFilters | None, label_keys: Collection[str]) -> Condition | None:
    """The condition that filters stand for; None for no filters.

    `label_keys` are those metadata keys that are the row's label and no metadata.

    Raises:
        ValueError: naming what cannot be said, and what to do.
    """
    return None if filters is None else _joined(filters, label_keys)


def _joined(filters: object, label_keys: Collection[str]) -> Condition:
    if isinstance(filters, MetadataFilter):
        return _single(filters, label_keys)
    if not isinstance(filters, MetadataFilters):
        raise ValueError(f"filters: must be MetadataFilters, not {type(filters).__name__}")
    if filters.condition is FilterCondition.NOT:
        raise ValueError(
            "filters: the condition not cannot be said: VecSec knows positive conditions only; name the values "
            f"that are wanted, with one of {_KNOWN}"
        )
    if not filters.filters:
        raise ValueError("filters: an empty list says nothing; give None for no filters")
    parts = [_joined(each, label_keys) for each in filters.filters]
    if len(parts) == 1:
        return parts[0]
    return any_of(*parts) if filters.condition is FilterCondition.OR else all_of(*parts)


def _single(asked: MetadataFilter, label_keys: Collection[str]) -> Condition:
    key, operator, value = asked.key, asked.operator, asked.value
    refuse_label(key, label_keys)
    if operator is FilterOperator.EQ:
        return equals(key, as_scalar(key, value, "the operator in"))
    if operator is FilterOperator.IN:
        return one_of(key, "in", value)
    if operator.value in BOUNDS:
        return BOUNDS[operator.value](key, as_bound(key, operator.value, value))
    raise ValueError(f"filter: {operator.value} of {key!r} cannot be said: {_reason(operator)}; use one of {_KNOWN}")


def _reason(operator: FilterOperator) -> str:
    if operator in _NEGATIVE:
        return "VecSec knows positive conditions only"
    if operator in _OF_LISTS:
        return "lists come back with their node, but cannot be asked for"
    return "texts are compared whole"
