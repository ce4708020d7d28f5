"""Values of the SDK as the JSON that `--json` prints."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vecsec_client import AttributeValue, Document

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def encoded(value: object) -> object:
    """What JSON itself has no form for: values by their fields, sets as sorted lists, times in ISO 8601, paths.

    Raises:
        TypeError: for anything else.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    if isinstance(value, AbstractSet):
        return sorted(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def fields_of(value: "DataclassInstance") -> dict[str, object]:
    """A value's fields by their names."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


def document_fields(document: Document) -> dict[str, object]:
    """A document; its embedding, its readers, its source and what its score is made of only if there are any."""
    shape = fields_of(document)
    for part in ("vector_score", "text_score", "vector_rank", "text_rank"):
        if shape.get(part, 0) is None:
            del shape[part]
    if document.readers is None:
        del shape["readers"]
    if document.source is None:
        del shape["source"]
    if not document.embedding:
        del shape["embedding"]
    return shape


def attribute_fields(attributes: Mapping[str, AttributeValue]) -> dict[str, object]:
    """A label's attributes; sets as sorted lists."""
    return {
        name: value if isinstance(value, str | int | float | bool) else sorted(value)
        for name, value in attributes.items()
    }
