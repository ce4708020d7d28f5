"""Which rows of a store may go on: those with whole tags, of the cell's own tenant, with a visible label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.filters import MetadataFilter
from vecsec_retrieval.model.rows import Document, StoredRow
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.visibility.eyes import Eyes
from vecsec_retrieval.visibility.label_table import LabelTable, Visible
from vecsec_retrieval.visibility.tagging import from_stored

_MOST_LABEL_KEYS = 10_000
"""Chroma takes about 20 µs a label that it is asked for (measured)."""


@dataclass(frozen=True, slots=True)
class VisibleRows:
    """What a grant sees of some rows."""

    visible: dict[str, Document]
    """By id, in the order of the rows."""
    filtered: int
    """How many have whole tags, but a label that is not visible."""


async def filter_visible(
    rows: Sequence[StoredRow], tenant_id: str, visibility: Eyes, metrics: RetrievalMetrics
) -> VisibleRows:
    """Judge each row by the label that it carries itself, not by what is recorded elsewhere."""
    documents = [document for document in (from_stored(row, tenant_id) for row in rows) if document is not None]
    metrics.count_untagged(len(rows) - len(documents))
    visible_labels = await visibility.of(document.label for document in documents)
    visible = {document.document_id: document for document in documents if document.label in visible_labels}
    return VisibleRows(visible, len(documents) - len(visible))


def visible_rows_condition(
    table: LabelTable, visible: Visible, metadata: MetadataFilter | None = None
) -> RowCondition | None:
    """What a store is to look for; None if no label is visible.

    Where most of very many labels are visible, the rows are found by their metadata alone: each is judged by its own
    label afterwards in any case.
    """
    codes = np.flatnonzero(visible)
    if not codes.size:
        return None
    if metadata is not None and codes.size > max(_MOST_LABEL_KEYS, len(table) // 2):
        return RowCondition(None, metadata)
    return RowCondition(frozenset(table.keys[code] for code in codes.tolist()), metadata)
