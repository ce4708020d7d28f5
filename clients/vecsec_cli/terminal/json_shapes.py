"""Values of the SDK as the JSON that `--json` prints."""

from collections.abc import Mapping

from vecsec_client import AttributeValue, Document


def document_fields(document: Document) -> dict[str, object]:
    """A document; its embedding only if there is one."""
    fields: dict[str, object] = {
        "document_id": document.document_id,
        "text": document.text,
        "tenant_id": document.tenant_id,
        "sensitivity": None if document.sensitivity is None else document.sensitivity.value,
        "topics": list(document.topics),
        "attributes": attribute_fields(document.attributes),
        "metadata": dict(document.metadata),
    }
    if document.embedding:
        fields["embedding"] = list(document.embedding)
    return fields


def attribute_fields(attributes: Mapping[str, AttributeValue]) -> dict[str, object]:
    """A label's attributes; sets as sorted lists."""
    return {
        name: value if isinstance(value, str | int | float | bool) else sorted(value)
        for name, value in attributes.items()
    }
