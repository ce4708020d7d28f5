"""Collections of a cell as searches have them: a snapshot's rows, and what the log holds beyond them."""

from collections.abc import Iterator, Mapping

import numpy as np
from faults.plan import info
from opentelemetry.metrics import NoOpMeter

from vecsec_retrieval.memory import snapshot_writer
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.memory.loading import index_change
from vecsec_retrieval.memory.snapshot_rows import TornSnapshot
from vecsec_retrieval.memory.snapshots import CollectionSnapshots
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.embeddings import normalised
from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.visibility.tagging import from_stored

_CHANGES_AT_ONCE = 500
snapshot_writer._BYTES_LEFT_FREE = 0  # the devices of the power cuts are small


def save(cell: EmbeddedCell, collection_id: str) -> None:
    """Make a snapshot, as retrieval does when much was written."""
    index = _loaded(_snapshots(cell, collection_id), cell, collection_id)
    _snapshots(cell, collection_id).of_moment(index.moment(), index.position, frozenset(index.untagged_ids))


def wrong_in_memory(cell: EmbeddedCell, collection_id: str, rows: Mapping[str, StoredRow]) -> Iterator[str]:
    """What a collection in memory has otherwise than it must be; a torn snapshot is made again, as retrieval does."""
    snapshots = _snapshots(cell, collection_id)
    try:
        yield from _differences(_loaded(snapshots, cell, collection_id), cell.tenant_id, rows)
    except TornSnapshot:
        snapshots.is_torn = True
        yield from _differences(_loaded(snapshots, cell, collection_id), cell.tenant_id, rows)


def _snapshots(cell: EmbeddedCell, collection_id: str) -> CollectionSnapshots:
    metrics = RetrievalMetrics(NoOpMeter("test"))
    return CollectionSnapshots(cell.log, cell.tenant_id, info(collection_id), metrics, mapped_from_bytes=0)


def _loaded(snapshots: CollectionSnapshots, cell: EmbeddedCell, collection_id: str) -> CollectionIndex:
    index = snapshots.index()
    while changes := cell.log.changes(collection_id, after=index.position, limit=_CHANGES_AT_ONCE):
        index.apply(index_change(changes, cell.tenant_id))
    return index


def _differences(index: CollectionIndex, tenant_id: str, rows: Mapping[str, StoredRow]) -> Iterator[str]:
    moment = index.moment()
    living = np.flatnonzero(moment.alive)
    if len(living) != len(rows):
        yield f"in memory: {len(living)} rows instead of {len(rows)}"
    starts = np.cumsum([0, *(len(part) for part in moment.parts)])
    for number in living.tolist():
        found = moment.document(number)
        row = rows.get(found.document_id)
        expected = None if row is None else from_stored(row, tenant_id)
        if expected is None or expected.embedding is None:
            yield f"in memory: {found.document_id} is there"
            continue
        place = int(starts.searchsorted(number, side="right")) - 1
        vector = moment.parts[place].gathered(np.array([number - starts[place]])).exact
        if vector.tobytes() != normalised(expected.embedding[np.newaxis]).tobytes():
            yield f"in memory: {found.document_id} has another embedding"
        if (found.text, found.label, found.metadata) != (expected.text, expected.label, expected.metadata):
            yield f"in memory: {found.document_id} is {found}"
