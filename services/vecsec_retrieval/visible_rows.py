"""Which rows of a store's answer may go on: those with whole tags, of the cell's own tenant, with a visible label."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.residuals import Visibility
from vecsec_retrieval.rows import Document, StoredRow
from vecsec_retrieval.tagging import from_stored, label_key


@dataclass(frozen=True, slots=True)
class SeenRows:
    """What a grant sees of some rows."""

    visible: dict[str, Document]
    """By id, in the order of the rows."""
    filtered: int
    """How many have whole tags, but a label that is not visible."""


async def see(rows: Sequence[StoredRow], tenant_id: str, visibility: Visibility, metrics: RetrievalMetrics) -> SeenRows:
    """Judge each row by the label that it carries itself, not by what is recorded elsewhere."""
    documents = [document for document in (from_stored(row, tenant_id) for row in rows) if document is not None]
    metrics.count_untagged(len(rows) - len(documents))
    label_keys = await visibility.of({label_key(document.label): document.label for document in documents})
    visible = {document.document_id: document for document in documents if label_key(document.label) in label_keys}
    return SeenRows(visible, len(documents) - len(visible))
