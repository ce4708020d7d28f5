"""Which labels fit a policy's schema: the same word for whoever plans, searches, counts, lists, writes and checks.

What does not fit is for nobody. The policy service reads the schema; retrieval is told by the grant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from vecsec_chassis.domain.labels import AttributeValue, Label

_LONGS = range(-(2**63), 2**63)
"""What Cedar's Long holds."""


class AttributeType(StrEnum):
    """The types that a row's attribute can have, as Cedar's schemas write them."""

    STRING = "String"
    LONG = "Long"
    BOOL = "Bool"
    TEXTS = "Set<String>"


NamesByType: TypeAlias = dict[str, list[str]]
"""The shortest way to write a schema: it travels with every grant."""

_TYPE_OF: Mapping[type, AttributeType] = {
    str: AttributeType.STRING,
    int: AttributeType.LONG,
    bool: AttributeType.BOOL,
    frozenset: AttributeType.TEXTS,
}


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """The attributes that rows may carry beside tenant, sensitivity and topics; each may be missing."""

    declared: tuple[tuple[str, AttributeType], ...]
    """Name and type, sorted by name."""
    _types: Mapping[str, AttributeType] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_types", dict(self.declared))

    @classmethod
    def of(cls, types: Mapping[str, AttributeType]) -> "LabelSchema":
        """The schema with these attributes."""
        return cls(tuple(sorted(types.items())))

    def fits(self, label: Label) -> bool:
        """Whether Cedar, given the schema, would read the label. Half-tagged labels fit: rules refuse them."""
        if label.attributes and not all(self.takes(name, value) for name, value in label.attributes):
            return False
        return is_text(label.tenant_id) and all(map(is_text, label.topics))

    def takes(self, name: str, value: AttributeValue) -> bool:
        """Whether a row may carry this value under this name."""
        return self._types.get(name) is type_of(value) and is_expressible(value)

    def type_of(self, name: str) -> AttributeType | None:
        """The type of an attribute; None if rows may not carry it."""
        return self._types.get(name)

    def to_names(self) -> NamesByType:
        """The names by their type; `from_names` reads them back."""
        names: NamesByType = {}
        for name, declared in self.declared:
            names.setdefault(declared.value, []).append(name)
        return names

    @classmethod
    def from_names(cls, names: Mapping[str, list[str]]) -> "LabelSchema":
        """Read what `to_names` wrote.

        Raises:
            ValueError, TypeError, AttributeError: if that is no schema.
        """
        return cls.of({str(name): AttributeType(declared) for declared, found in names.items() for name in found})


def type_of(value: AttributeValue) -> AttributeType | None:
    """The type of a value, None for what is none; Python takes True and 1 for the same, Cedar does not."""
    return _TYPE_OF.get(type(value))


def is_expressible(value: object) -> bool:
    """Whether Cedar has a value for it: no number beyond Long, no half a character."""
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, frozenset):
        return all(map(is_text, value))
    return isinstance(value, int) and value in _LONGS


def is_text(text: str) -> bool:
    """Not so are halves of a surrogate pair."""
    return text.isascii() or text.isprintable() or not any("\ud800" <= character <= "\udfff" for character in text)
