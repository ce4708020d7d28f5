"""Security labels: everything about a row that access may depend on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

AttributeValue = str | int | bool | frozenset[str]


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
    """

    tenant_id: str
    sensitivity: Sensitivity | None
    topics: frozenset[str]
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    """Further attributes that the Cedar schema declares, sorted by name."""

    @property
    def is_complete(self) -> bool:
        """Whether tenant, sensitivity and topics are all there."""
        return bool(self.tenant_id) and self.sensitivity is not None and bool(self.topics)

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
        topics = values.pop("topics", [])
        tenant_id = values.pop("tenant_id", "")
        sensitivity = values.pop("sensitivity", None)
        if not isinstance(topics, list) or not isinstance(tenant_id, str):
            raise ValueError(f"not a label: {text[:80]!r}")  # noqa: TRY004
        return Label(
            tenant_id=tenant_id,
            sensitivity=None if sensitivity is None else Sensitivity(sensitivity),
            topics=frozenset(topics),
            attributes=canonical_attributes(
                {name: frozenset(value) if isinstance(value, list) else value for name, value in values.items()}
            ),
        )


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
