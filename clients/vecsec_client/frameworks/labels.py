"""A row's label and a document's metadata: frameworks know metadata alone, so some of its keys are the label.

Documents that a store read and stores again keep their label: metadata tells it wherever it is not that store's own.
Before they go to another store, with a default of its own, metadata has to tell all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from vecsec_client.results import Document
from vecsec_client.values import AttributeValue, Sensitivity


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelKeys:
    """Which metadata keys are no metadata but the row's label; None for a part that metadata never says."""

    sensitivity: str | None = "sensitivity"
    """Its value is PUBLIC, INTERNAL, CONFIDENTIAL or SECRET."""
    topics: str | None = "topics"
    """Its value is a list of topics."""
    readers: str | None = "readers"
    """Its value is a list of those who alone may read the row, such as "user:alice" or "group:finance"."""
    attributes: str | None = "attributes"
    """Its value is a dictionary of what else the policy's schema declares of labels."""

    def __post_init__(self) -> None:
        """Refuse one key for two parts.

        Raises:
            ValueError: naming the keys.
        """
        used = [key for key in self.by_part().values() if key is not None]
        if len(set(used)) < len(used):
            raise ValueError(f"label_keys: each part of a label needs a key of its own, not {', '.join(used)}")

    def by_part(self) -> dict[str, str | None]:
        """The keys, by the part of the label that they stand for."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def names(self) -> frozenset[str]:
        """All keys."""
        return frozenset(key for key in self.by_part().values() if key is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What of a row access depends on, but for its tenant, which the writer's token says."""

    sensitivity: Sensitivity | None = None
    topics: tuple[str, ...] = ()
    readers: tuple[str, ...] | None = None
    """None for all whom the policy's other rules let through."""
    attributes: Mapping[str, AttributeValue | Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, *, sensitivity: object, topics: object, readers: object, attributes: object) -> "Label":
        """The label of these values, which come from people.

        Raises:
            ValueError: naming the part, its value and what it has to be.
        """
        return cls(
            sensitivity=None if sensitivity is None else _sensitivity(sensitivity),
            topics=_texts("topics", topics),
            readers=None if readers is None else _texts("readers", readers),
            attributes=_attributes(attributes),
        )


@dataclass(frozen=True, slots=True)
class Labelling:
    """The label of documents whose metadata says nothing else, and the keys by which it may."""

    default: Label
    keys: LabelKeys
    tells_all: bool = False
    """Whether the metadata of what is read tells the whole label."""

    def take(self, metadata: Mapping[str, Any]) -> tuple[Label, dict[str, Any]]:
        """The label of a document with this metadata, and what of the metadata is none of it.

        Raises:
            ValueError: naming the part that is wrong, or missing.
        """
        rest = dict(metadata)
        parts = {
            part: getattr(self.default, part) if key is None or key not in rest else rest.pop(key)
            for part, key in self.keys.by_part().items()
        }
        label = Label.of(**parts)
        for part in ("sensitivity", "topics"):
            if not getattr(label, part):
                key = self.keys.by_part()[part]
                by_metadata = "" if key is None else f", or {key!r} in the document's metadata"
                raise ValueError(f"a document without {part}: give the store {part}=...{by_metadata}")
        return label, rest

    def tell(self, row: Document) -> dict[str, Any]:
        """The row's metadata, with what of its label is to be told, or hides behind a key of the label."""
        metadata = dict(row.metadata)
        for part, key in self.keys.by_part().items():
            value = _comparable(getattr(row, part))
            is_default = value == _comparable(getattr(self.default, part))
            if key is not None and (key in metadata or not is_default or (self.tells_all and value)):
                metadata[key] = value
        return metadata


def _comparable(value: object) -> Any:
    """As metadata has it: texts in the order of the alphabet, for they are sets, and nothing that JSON has not."""
    if isinstance(value, Sensitivity):
        return value.value
    if isinstance(value, Mapping):
        return {name: _comparable(each) for name, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return sorted(value)
    return value


def _sensitivity(value: object) -> Sensitivity:
    try:
        return Sensitivity(str(value))
    except ValueError as error:
        raise ValueError(f"sensitivity: {str(value)[:80]!r} is unknown; known: {', '.join(Sensitivity)}") from error


def _texts(part: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, tuple | list | set | frozenset) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{part}: must be a list of texts, not {str(value)[:80]!r}")
    return tuple(value)


def _attributes(value: object) -> Mapping[str, AttributeValue | Sequence[str]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"attributes: must be a dictionary, not {str(value)[:80]!r}")
    return value
