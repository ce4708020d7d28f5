"""Which labels a collection's rows have, and which metadata keys occur with each: kept in the cell, beside the rows.

A side collection holds an entry per label and an entry per pair of label and metadata key. Entries are only ever
added, before the rows that need them, and adding one again changes nothing; so writers need not know of each other.
Entries whose rows are gone stay: a label costs a decision, and a metadata key that no row has any more still counts as
known where the collection is read from the store, so that a filter by it finds nothing instead of being refused. No
document is ever found or missed by them.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vecsec_chassis.labels import Label
from vecsec_retrieval.cells import Cell, RowCondition
from vecsec_retrieval.rows import CollectionInfo, Document, StoredRow
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.tagging import LABEL_JSON_KEY, LABEL_KEY, label_key, label_tags, read_label

SUFFIX = ".labels"
"""Ids of collections that callers choose hold no dot, so that none can reach a catalogue."""

_MODEL = "none"
_METADATA_KEY = "vs_metadata_key"
_FRESH_SECONDS = 1.0
_ROWS_A_CALL = 1_000
_NOWHERE = np.ones(1, dtype=np.float32)


class LabelCatalogue:
    """The labels of one collection. Used on the event loop; `store` alone runs in a worker thread."""

    def __init__(self, cell: Cell, collection_id: str, threads: StoreThreads, *, has_other_writers: bool) -> None:
        self._cell = cell
        self._side_collection_id = collection_id + SUFFIX
        self._threads = threads
        self._has_other_writers = has_other_writers
        self._labels: dict[str, Label] = {}
        self._metadata_keys: dict[str, set[str]] = {}
        self._read_at: float | None = None

    async def labels(self) -> Mapping[str, Label]:
        """All labels by key; at most a second old where others write, too."""
        stale = self._read_at is None or (self._has_other_writers and time.monotonic() - self._read_at > _FRESH_SECONDS)
        if stale:
            read_at = time.monotonic()
            self.add(await self._threads.run("read_labels", self._read))
            self._read_at = read_at
        return self._labels

    def metadata_keys(self, label_keys: Iterable[str]) -> frozenset[str]:
        """The metadata keys that occurred with these labels, as of the last `labels`."""
        return frozenset().union(*(self._metadata_keys.get(key, ()) for key in label_keys))

    def missing_entries(self, documents: Iterable[Document]) -> list[StoredRow]:
        """Entries that these documents need and that are not known to be there."""
        entries: dict[str, StoredRow] = {}
        for document in documents:
            key = label_key(document.label)
            tags = label_tags(document.label)
            if key not in self._labels:
                entries[key] = StoredRow(key, key, tags, _NOWHERE)
            for name in document.metadata.keys() - self._metadata_keys.get(key, set()):
                entry_id = f"{key}/{name}"
                entries[entry_id] = StoredRow(entry_id, name, {**tags, _METADATA_KEY: name}, _NOWHERE)
        return list(entries.values())

    def store(self, entries: Sequence[StoredRow]) -> None:
        """Make entries durable; blocks."""
        if not entries:
            return
        self._cell.create_collection(CollectionInfo(self._side_collection_id, _MODEL, 1))
        for start in range(0, len(entries), _ROWS_A_CALL):
            self._cell.upsert(self._side_collection_id, entries[start : start + _ROWS_A_CALL])

    def add(self, entries: Iterable[StoredRow]) -> None:
        """Remember entries that are durable."""
        for entry in entries:
            label = read_label(entry.metadata.get(LABEL_JSON_KEY), entry.metadata.get(LABEL_KEY))
            if label is None or label.tenant_id != self._cell.tenant_id:
                continue
            key = label_key(label)
            self._labels[key] = label
            name = entry.metadata.get(_METADATA_KEY)
            if isinstance(name, str):
                self._metadata_keys.setdefault(key, set()).add(name)

    def _read(self) -> list[StoredRow]:
        if self._cell.find_collection(self._side_collection_id) is None:
            return []
        ids = self._cell.find_ids(self._side_collection_id, RowCondition())
        rows: list[StoredRow] = []
        for start in range(0, len(ids), _ROWS_A_CALL):
            page = ids[start : start + _ROWS_A_CALL]
            rows.extend(self._cell.get(self._side_collection_id, page, with_embeddings=False))
        return rows
