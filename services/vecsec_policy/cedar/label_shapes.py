"""Whether labels fit the schema, asked of Cedar once for each shape of label instead of once for each label.

A shape is: which attributes a label has, and of which kind the value of each is. Cedar reads an attribute by its
declared type. String, Long, Bool and sets of String take every value of their kind. Types that are written as texts and
have a grammar (decimal, datetime, duration, ipaddr) look at the text, and so would any that is yet to come. Therefore a
shape is tried with a text that has none of their forms: if Cedar takes that, the types are such as take any, and every
label of the shape fits; if not, each label is asked for itself. A property test compares with Cedar's word on each.
"""

from collections.abc import Callable, Hashable

from cachetools import LRUCache

from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity
from vecsec_chassis.telemetry.metrics import CacheCounter

_REMEMBERED_SHAPES = 1_000
"""Callers may make up attributes."""
_SHAPELESS_TEXT = "\N{REPLACEMENT CHARACTER} no number, no date, no address"
_LONGS = range(-(2**63), 2**63)
"""What Cedar's Long holds."""


class LabelShapes:
    """Knows which labels fit one schema."""

    def __init__(self, accepts: Callable[[Label], bool]) -> None:
        """`accepts` is Cedar's word on one label."""
        self._accepts = accepts
        self._fitting: LRUCache[Hashable, bool] = LRUCache(_REMEMBERED_SHAPES)
        self.lookups = CacheCounter()
        """How often a label's shape was known."""

    def fits(self, label: Label) -> bool:
        """Whether Cedar would read the label by the schema."""
        if not _fits_cedar_json(label):
            return self._accepts(label)
        shape = _shape(label)
        whole_shape_fits = self._fitting.get(shape)
        self.lookups.count(found=whole_shape_fits is not None)
        if whole_shape_fits is None:
            whole_shape_fits = self._fitting[shape] = self._accepts(_shapeless_label(label))
        return whole_shape_fits or self._accepts(label)


def _shape(label: Label) -> Hashable:
    kinds = tuple(
        [(name, type(value), bool(value) if type(value) is frozenset else None) for name, value in label.attributes]
    )
    return bool(label.tenant_id), label.sensitivity is None, bool(label.topics), kinds


def _shapeless_label(label: Label) -> Label:
    """The label of this shape whose texts have no form."""
    return Label(
        tenant_id=_SHAPELESS_TEXT if label.tenant_id else "",
        sensitivity=None if label.sensitivity is None else Sensitivity.PUBLIC,
        topics=_shapeless(label.topics),
        attributes=tuple((name, _shapeless_value(value)) for name, value in label.attributes),
    )


def _shapeless_value(value: AttributeValue) -> AttributeValue:
    if isinstance(value, frozenset):
        return _shapeless(value)
    return _SHAPELESS_TEXT if isinstance(value, str) else value


def _shapeless(texts: frozenset[str]) -> frozenset[str]:
    return frozenset({_SHAPELESS_TEXT}) if texts else texts


def _fits_cedar_json(label: Label) -> bool:
    """Whether JSON for Cedar can hold every value, whatever the types: no number beyond Long, no half a character."""
    return (
        _is_text(label.tenant_id)
        and all(map(_is_text, label.topics))
        and all(_value_fits_cedar_json(value) for _, value in label.attributes)
    )


def _value_fits_cedar_json(value: AttributeValue) -> bool:
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, frozenset):
        return all(map(_is_text, value))
    return value in _LONGS


def _is_text(text: str) -> bool:
    """Not so are halves of a surrogate pair."""
    return text.isascii() or text.isprintable() or not any("\ud800" <= character <= "\udfff" for character in text)
