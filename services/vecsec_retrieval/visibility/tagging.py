"""How a document's label and metadata are written on its row, and how a row is read back.

Every row says itself whose it is: the reserved keys hold its tenant, its whole label and the label's key. A row whose
tags are missing, do not agree with each other or name another tenant than its cell's is no document. The caller's own
metadata keys carry a prefix, so that no reserved key can be reached by one.
"""

import functools
from collections.abc import Callable, Iterable, Mapping

from vecsec_chassis.domain.labels import Label
from vecsec_chassis.telemetry.metrics import CacheUse
from vecsec_retrieval.model.rows import Document, Metadata, MetadataValue, StoredRow

TENANT_KEY = "vs_tenant"
LABEL_KEY = "vs_label"
LABEL_JSON_KEY = "vs_label_json"
METADATA_PREFIX = "m."

_MEMOISED_LABELS = 4_096


def to_stored(document: Document, stale_metadata_keys: Iterable[str] = ()) -> StoredRow:
    """The document as a row; `stale_metadata_keys` are those of the row that it replaces."""
    metadata: dict[str, MetadataValue | None] = {METADATA_PREFIX + key: None for key in stale_metadata_keys}
    metadata.update((METADATA_PREFIX + key, value) for key, value in document.metadata.items())
    metadata.update(label_tags(document.label))
    return StoredRow(document.document_id, document.text, metadata, document.embedding)


def label_tags(label: Label) -> dict[str, MetadataValue]:
    """What a row bears of its label."""
    key, label_json = _key_and_json(label)
    return {TENANT_KEY: label.tenant_id, LABEL_KEY: key, LABEL_JSON_KEY: label_json}


def label_key(label: Label) -> str:
    """The label's key, remembered."""
    return _key_and_json(label)[0]


def from_stored(row: StoredRow, tenant_id: str) -> Document | None:
    """The document on this row of the tenant's cell; None if its tags are not whole and the tenant's own."""
    tags = row.metadata
    label_json, key = tags.get(LABEL_JSON_KEY), tags.get(LABEL_KEY)
    label = _verified_label(label_json, key) if isinstance(label_json, str) and isinstance(key, str) else None
    if label is None or tags.get(TENANT_KEY) != tenant_id or label.tenant_id != tenant_id:
        return None
    return Document(row.document_id, row.text, label, caller_metadata(tags), row.embedding)


def caller_metadata(tags: Mapping[str, MetadataValue | None]) -> Metadata:
    """The caller's own metadata among everything on a row."""
    start = len(METADATA_PREFIX)
    return {key[start:]: value for key, value in tags.items() if value is not None and key.startswith(METADATA_PREFIX)}


@functools.lru_cache(maxsize=_MEMOISED_LABELS)
def _key_and_json(label: Label) -> tuple[str, str]:
    return label.key, label.to_json()


@functools.lru_cache(maxsize=_MEMOISED_LABELS)
def _verified_label(label_json: str, key: str) -> Label | None:
    """The complete label that the JSON holds, if the key is that label's; None otherwise."""
    try:
        label = Label.from_json(label_json)
    except (ValueError, TypeError):
        return None
    return label if label.is_complete and label.key == key else None


CACHES: Mapping[str, Callable[[], CacheUse]] = {
    "label_tags": _key_and_json.cache_info,
    "stored_labels": _verified_label.cache_info,
}
"""How this module's caches are used, by their names in metrics."""
