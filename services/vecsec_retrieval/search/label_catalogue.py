"""Which labels a collection's rows have, and which metadata keys occur with each: kept in the cell, beside the rows.

A side collection holds entries, each with a few dozen labels whose documents have the same metadata keys; there may be
as many labels as rows, and an entry a label would make a collection as large again. An entry's id is the hash of what
it holds. Entries are only ever added, before the rows that need them, and adding one again changes nothing; so writers
need not know of each other. Labels whose rows are gone stay: they cost nearly nothing. So does a metadata key that
no row has any more: whoever asks which are in use looks at rows, too, but with a Chroma server, where a filter by it
finds nothing instead of being refused. No document is ever found or missed by them.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.model.rows import CollectionInfo, Document, StoredRow
from vecsec_retrieval.model.store import Cell, RowCondition
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.label_table import LabelTable, Visible
from vecsec_retrieval.visibility.tagging import TENANT_KEY

SUFFIX = ".labels"
"""Ids of collections that callers choose hold no dot, so that none can reach a catalogue."""

_MODEL = "none"
_LABELS_KEY = "vs_labels"
"""A label's canonical JSON a line."""
_METADATA_KEYS_KEY = "vs_metadata_keys"
_CHARACTERS_AN_ENTRY = 4_000
"""Hosted stores limit what a metadata value may hold; a single label may be longer."""
_FRESH_SECONDS = 1.0
_ROWS_A_CALL = 1_000
_ENTRIES_AT_ONCE = 25
"""Some 800 labels: 10 ms, between which others get their turn."""
_BYTES_PER_ENTRY = 200
_BYTES_PER_PAIR = 60
_PLACEHOLDER_VECTOR = np.ones(1, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Some labels that occur with the same metadata keys."""

    labels: tuple[Label, ...]
    metadata_keys: frozenset[str]
    entry_id: str


class LabelCatalogue:
    """The labels of one collection. Used on the event loop; `store` alone runs in a worker thread."""

    def __init__(self, cell: Cell, collection_id: str, threads: StoreThreads, *, has_other_writers: bool) -> None:
        self._cell = cell
        self._side_collection_id = collection_id + SUFFIX
        self._threads = threads
        self._has_other_writers = has_other_writers
        self._table = LabelTable()
        self._codes_with: dict[frozenset[str], set[int]] = {}
        self._entry_ids: set[str] = set()
        self._read_at: float | None = None

    @property
    def approximate_bytes(self) -> int:
        """Memory that the catalogue takes."""
        pairs = sum(len(codes) for codes in self._codes_with.values())
        return self._table.approximate_bytes + pairs * _BYTES_PER_PAIR + len(self._entry_ids) * _BYTES_PER_ENTRY

    async def labels(self) -> LabelTable:
        """All labels; at most a second old where others write, too."""
        stale = self._read_at is None or (self._has_other_writers and time.monotonic() - self._read_at > _FRESH_SECONDS)
        if stale:
            read_at = time.monotonic()
            known = frozenset(self._entry_ids)
            entries = await self._threads.run("read_labels", lambda: self._read(known))
            for start in range(0, len(entries), _ENTRIES_AT_ONCE):
                if start:
                    await asyncio.sleep(0)
                self.add(entries[start : start + _ENTRIES_AT_ONCE])
            self._read_at = read_at
        return self._table

    def metadata_keys(self, visible: Visible) -> frozenset[str]:
        """The metadata keys that occurred with the visible labels of `labels`, as far as it reached."""
        return frozenset().union(
            *(
                keys
                for keys, codes in self._codes_with.items()
                if any(code < len(visible) and visible[code] for code in codes)
            )
        )

    def missing_entries(self, documents: Iterable[Document]) -> list[CatalogueEntry]:
        """Entries that these documents need and that are not known to be there."""
        return self.entries_of((document.label, frozenset(document.metadata)) for document in documents)

    def entries_of(self, pairs: Iterable[tuple[Label, frozenset[str]]]) -> list[CatalogueEntry]:
        """The same for labels and the metadata keys that occur with them."""
        missing: dict[frozenset[str], dict[Label, None]] = {}
        for label, keys in pairs:
            code = self._table.code(label)
            if code is None or code not in self._codes_with.get(keys, ()):
                missing.setdefault(keys, {})[label] = None
        return [entry for keys, labels in missing.items() for entry in _entries(labels, keys)]

    def store(self, entries: Sequence[CatalogueEntry]) -> None:
        """Make entries durable; blocks."""
        if not entries:
            return
        self._cell.create_collection(CollectionInfo(self._side_collection_id, _MODEL, 1))
        for start in range(0, len(entries), _ROWS_A_CALL):
            rows = [_to_stored(entry, self._cell.tenant_id) for entry in entries[start : start + _ROWS_A_CALL]]
            self._cell.upsert(self._side_collection_id, rows)

    def add(self, entries: Iterable[CatalogueEntry]) -> None:
        """Remember entries that are durable."""
        for entry in entries:
            self._entry_ids.add(entry.entry_id)
            codes = self._codes_with.setdefault(entry.metadata_keys, set())
            codes.update(self._table.add(label) for label in entry.labels)

    def _read(self, known: frozenset[str]) -> list[CatalogueEntry]:
        if self._cell.find_collection(self._side_collection_id) is None:
            return []
        ids = [each for each in self._cell.find_ids(self._side_collection_id, RowCondition()) if each not in known]
        entries: list[CatalogueEntry] = []
        for start in range(0, len(ids), _ROWS_A_CALL):
            page = ids[start : start + _ROWS_A_CALL]
            rows = self._cell.get(self._side_collection_id, page, with_embeddings=False)
            entries.extend(_from_stored(row, self._cell.tenant_id) for row in rows)
        return entries


def _entries(labels: Iterable[Label], metadata_keys: frozenset[str]) -> Iterator[CatalogueEntry]:
    page: list[Label] = []
    characters = 0
    for label in labels:
        length = len(label.to_json()) + 1
        if page and characters + length > _CHARACTERS_AN_ENTRY:
            yield _entry(page, metadata_keys)
            page, characters = [], 0
        page.append(label)
        characters += length
    yield _entry(page, metadata_keys)


def _entry(labels: Sequence[Label], metadata_keys: frozenset[str]) -> CatalogueEntry:
    content = f"{_keys_json(metadata_keys)}\n{_lines(labels)}"
    return CatalogueEntry(tuple(labels), metadata_keys, hashlib.blake2b(content.encode(), digest_size=16).hexdigest())


def _lines(labels: Iterable[Label]) -> str:
    return "\n".join(label.to_json() for label in labels)


def _keys_json(metadata_keys: frozenset[str]) -> str:
    return json.dumps(sorted(metadata_keys), ensure_ascii=False)


def _to_stored(entry: CatalogueEntry, tenant_id: str) -> StoredRow:
    tags = {
        TENANT_KEY: tenant_id,
        _METADATA_KEYS_KEY: _keys_json(entry.metadata_keys),
        _LABELS_KEY: _lines(entry.labels),
    }
    return StoredRow(entry.entry_id, entry.entry_id, tags, _PLACEHOLDER_VECTOR)


def _from_stored(row: StoredRow, tenant_id: str) -> CatalogueEntry:
    """The entry; one that is damaged or another tenant's holds no labels."""
    labels, keys = row.metadata.get(_LABELS_KEY), row.metadata.get(_METADATA_KEYS_KEY)
    try:
        read = [Label.from_json(line) for line in str(labels).split("\n")]
        metadata_keys = frozenset(str(key) for key in json.loads(str(keys)))
    except (ValueError, TypeError):
        return CatalogueEntry((), frozenset(), row.document_id)
    own = tuple(label for label in read if label.is_complete and label.tenant_id == tenant_id)
    return CatalogueEntry(own, metadata_keys, row.document_id)
