"""A label in words, for people; programs get it as JSON."""

import json

from vecsec_chassis.labels import AttributeValue, Label


def in_words(label: Label) -> str:
    """Such as: tenant_a, INTERNAL, topics rag and marketing, owner "alice"."""
    parts = [
        label.tenant_id or "no tenant",
        "no sensitivity" if label.sensitivity is None else label.sensitivity.name,
        f"topics {' and '.join(sorted(label.topics))}" if label.topics else "no topics",
        *(f"{name} {_value(value)}" for name, value in label.attributes),
    ]
    return ", ".join(parts)


def _value(value: AttributeValue) -> str:
    return json.dumps(sorted(value) if isinstance(value, frozenset) else value)
