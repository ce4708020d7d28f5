"""How large an answer becomes, known before it is built."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from vecsec_chassis.domain.errors import LimitExceeded
from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_chassis.telemetry.metrics import CacheUse
from vecsec_retrieval.model.rows import Document, MetadataValue

_BYTES_A_DOCUMENT = 64
"""Lengths, tags, the score and the provenance of one document."""
_BYTES_A_VALUE = 24
"""Lengths and tags of an entry of a map; also the largest number."""

_REMEMBERED_LABELS = 1_000


def refuse_oversized_answer(documents: Sequence[Document], max_bytes: int) -> None:
    """Hold an answer to its limit.

    Raises:
        LimitExceeded: saying how many of the documents would fit.
    """
    total = 0
    label_sizes: dict[int, int] = {}  # by `id()`, as documents in memory share the few labels that they have
    for count, document in enumerate(documents):
        label_size = label_sizes.get(id(document.label))
        if label_size is None:
            label_size = label_sizes[id(document.label)] = _label_size(document.label)
        total += label_size + _size(document)
        if total > max_bytes:
            raise LimitExceeded(
                f"the answer would be larger than {max_bytes} bytes; the first {count} of {len(documents)} documents "
                "fit: ask for fewer"
            )


def _size(document: Document) -> int:
    """At least the bytes of the document's message without its label."""
    total = _BYTES_A_DOCUMENT + _bytes(document.document_id) + _bytes(document.text)
    for key, value in document.metadata.items():
        total += _BYTES_A_VALUE + _bytes(key) + _value_size(value)
    return total + (0 if document.embedding is None else document.embedding.nbytes)


@lru_cache(_REMEMBERED_LABELS)
def _label_size(label: Label) -> int:
    topics = sum(_BYTES_A_VALUE + _bytes(topic) for topic in label.topics)
    attributes = sum(_BYTES_A_VALUE + _bytes(name) + _value_size(value) for name, value in label.attributes)
    return _bytes(label.tenant_id) + topics + attributes


CACHES: Mapping[str, Callable[[], CacheUse]] = {"label_sizes": _label_size.cache_info}
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
