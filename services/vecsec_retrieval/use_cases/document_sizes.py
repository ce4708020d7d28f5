"""How large documents are as messages, or nearly so. Pure."""

from collections.abc import Callable, Mapping
from functools import lru_cache

from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_chassis.telemetry.metrics import CacheUse
from vecsec_retrieval.model.rows import Document, MetadataValue

_BYTES_A_DOCUMENT = 64
"""Lengths, tags, the score and the provenance of one document."""
_BYTES_A_VALUE = 24
"""Lengths and tags of an entry of a map; also the largest number."""
_REMEMBERED_LABELS = 1_000


def size_without_label(document: Document) -> int:
    """At least the bytes of the document's message without its label."""
    total = _BYTES_A_DOCUMENT + _bytes(document.document_id) + _bytes(document.text)
    for key, value in document.metadata.items():
        total += _BYTES_A_VALUE + _bytes(key) + _value_size(value)
    return total + (0 if document.embedding is None else document.embedding.nbytes)


@lru_cache(_REMEMBERED_LABELS)
def label_size(label: Label) -> int:
    """At least the bytes of a label's message."""
    topics = sum(_BYTES_A_VALUE + _bytes(topic) for topic in label.topics)
    attributes = sum(_BYTES_A_VALUE + _bytes(name) + _value_size(value) for name, value in label.attributes)
    return _bytes(label.tenant_id) + topics + attributes


def size_without_embedding(document: Document) -> int:
    """What a document's text, metadata and label take."""
    embedding = 0 if document.embedding is None else document.embedding.nbytes
    return label_size(document.label) + size_without_label(document) - embedding


CACHES: Mapping[str, Callable[[], CacheUse]] = {"label_sizes": label_size.cache_info}
"""How this module's cache is used, by its name in metrics."""


def _value_size(value: AttributeValue | MetadataValue) -> int:
    match value:
        case str():
            return _bytes(value)
        case frozenset():
            return sum(_BYTES_A_VALUE + _bytes(each) for each in value)
    return 0


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
