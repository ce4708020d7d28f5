"""Security labels: everything about a row that access may depend on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

AttributeValue = str | int | bool | frozenset[str]

OWN_PARTS = frozenset({"tenant_id", "sensitivity", "topics"})
"""What every label has itself. Rules see these beside the attributes, so no attribute may bear such a name."""

_BYTES_OF_AN_EMPTY_LABEL = 512
_BYTES_OF_A_TEXT = 136
"""Its header and its place in a set or tuple."""
_BYTES_OF_A_SET = 216
_BYTES_OF_A_CHARACTER = 12
"""Four in the text, four in its UTF-8, which Python keeps once it was asked for, and four in the message."""


class Sensitivity(IntEnum):
    """How sensitive a row is, and how far a caller is cleared; the order is the rule."""

    PUBLIC = 1
    INTERNAL = 2
    CONFIDENTIAL = 3
    SECRET = 4


@dataclass(frozen=True, slots=True)
class Label:
    """The label of a row.

    A half-tagged label (no tenant, no sensitivity or no topics) can be expressed, so that it can be refused by the
    rules; nothing ever fills in what is missing.

    Labels are keys of caches that hold verdicts, so they are equal only if rules cannot tell them apart: Python takes
    `True` and `1` for the same, Cedar does not.

    Raises:
        ValueError: if an attribute bears the name of one of the label's own parts.
    """

    tenant_id: str
    sensitivity: Sensitivity | None
    topics: frozenset[str]
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    """Further attributes that the Cedar schema declares, sorted by name."""
    _attribute_types: tuple[type, ...] = field(init=False, repr=False, default=())
    _hash: int = field(init=False, repr=False, compare=False, default=0)
    serialized: bytes = field(init=False, repr=False, compare=False, default=b"")
    """Its message, once `wire.label_bytes` was asked for it."""

    def __hash__(self) -> int:
        """Kept, for a label is a key of several tables in every call."""
        if not self._hash:
            parts = (self.tenant_id, self.sensitivity, self.topics, self.attributes, self._attribute_types)
            object.__setattr__(self, "_hash", hash(parts))
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        """Made anew where it is unpickled: another process hashes texts otherwise."""
        return Label, (self.tenant_id, self.sensitivity, self.topics, self.attributes)

    def __post_init__(self) -> None:
        if not self.attributes:
            return
        reserved = [name for name, _ in self.attributes if name in OWN_PARTS]
        if reserved:
            raise ValueError(f"an attribute cannot be called {reserved[0]!r}: that is a part of the label itself")
        object.__setattr__(self, "_attribute_types", tuple(type(value) for _, value in self.attributes))

    @property
    def is_complete(self) -> bool:
        """Whether tenant, sensitivity and topics are all there."""
        return bool(self.tenant_id) and self.sensitivity is not None and bool(self.topics)

    @property
    def weight(self) -> int:
        """How many bytes of memory the label takes with its message, at most (texts are taken for the widest), for
        bounds of caches."""
        texts = [self.tenant_id, *self.topics]
        sets = 1
        for name, value in self.attributes:
            texts.append(name)
            if isinstance(value, frozenset):
                texts.extend(value)
                sets += 1
            else:
                texts.append(value if isinstance(value, str) else "")
        return (
            _BYTES_OF_AN_EMPTY_LABEL
            + sets * _BYTES_OF_A_SET
            + sum(_BYTES_OF_A_TEXT + _BYTES_OF_A_CHARACTER * len(text) for text in texts)
        )

    @property
    def key(self) -> str:
        """A short name that equal labels share and different labels do not (128-bit hash of the canonical JSON)."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=16).hexdigest()

    def to_json(self) -> str:
        """The canonical JSON of the label; `from_json` reads it back."""
        return json.dumps(rule_attributes(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> "Label":
        """Read what `to_json` wrote.

        Raises:
            ValueError: if the text is not a label; never guesses.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a label must be a JSON object, not {text[:80]!r}")  # noqa: TRY004 (one error for bad text)
        topics = _texts(values.pop("topics", []))
        tenant_id = values.pop("tenant_id", "")
        sensitivity = values.pop("sensitivity", None)
        if not isinstance(tenant_id, str) or isinstance(sensitivity, bool | float):
            raise ValueError(f"not a label: {text[:80]!r}")  # noqa: TRY004
        return Label(
            tenant_id=tenant_id,
            sensitivity=None if sensitivity is None else Sensitivity(sensitivity),
            topics=topics,
            attributes=canonical_attributes({name: _attribute(value) for name, value in values.items()}),
        )


def _attribute(value: object) -> AttributeValue:
    return value if isinstance(value, str | int) else _texts(value)


def _texts(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
        raise ValueError(f"not a list of texts: {str(value)[:80]}")
    return frozenset(value)


def canonical_attributes(attributes: Mapping[str, AttributeValue]) -> tuple[tuple[str, AttributeValue], ...]:
    """Sort attributes by name, so that equal labels compare and hash equal."""
    return tuple(sorted(attributes.items()))


def rule_attributes(label: Label) -> dict[str, object]:
    """The label as the rules see it: the attributes of a Cedar `Document` entity, absent where untagged.

    Sensitivity is its number (Cedar's Long), so that rules can compare it.
    """
    attributes: dict[str, object] = {
        name: sorted(value) if isinstance(value, frozenset) else value for name, value in label.attributes
    }
    if label.tenant_id:
        attributes["tenant_id"] = label.tenant_id
    if label.sensitivity is not None:
        attributes["sensitivity"] = int(label.sensitivity)
    if label.topics:
        attributes["topics"] = sorted(label.topics)
    return attributes
