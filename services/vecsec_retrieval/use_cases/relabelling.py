"""Changes the labels of documents without embedding them again.

Who relabels must be able to read a row as well as write it: a writer may replace a row that others alone read, but by
its label it would become readable with its text. And the new label must be one that the same caller may write.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import AccessDenied, FieldViolation, LimitExceeded
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.memory.index import IndexChange, KnownRows
from vecsec_retrieval.model.filters import MetadataFilter, refuse_oversized
from vecsec_retrieval.model.label_change import LabelChange
from vecsec_retrieval.search.known_keys import refuse_misspelt
from vecsec_retrieval.search.reader import CollectionReader, SelectedRows
from vecsec_retrieval.use_cases.found_nothing import refuse_senseless
from vecsec_retrieval.use_cases.seen_collection import seen_collection
from vecsec_retrieval.visibility.eyes import AllOfThem, Eyes, require_same_caller
from vecsec_retrieval.visibility.grant_life import require_living
from vecsec_retrieval.visibility.permissions import Permissions, Visibility, refuse_unseen

_MOST_LABELS = 1_000
_MOST_LABEL_BYTES = 1024 * 1024
"""Of the new labels: each is checked by the policy service, and a message has a limit."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RelabelOrder:
    """Which documents get which labels."""

    collection_id: str
    change: LabelChange
    checked_labels: frozenset[Label]
    """That the policy service has allowed."""
    document_ids: Sequence[str] | None = None
    """These, or else those that match."""
    metadata: MetadataFilter | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What became of an order."""

    count: int
    """So many documents have another label, or would have."""
    unchecked_labels: Sequence[Label] = ()
    """If there are any, nothing was changed."""


@dataclass(frozen=True, slots=True)
class _PlannedRows:
    """The rows whose label becomes another one."""

    relabelled: list[tuple[str, Label]]
    labels: frozenset[Label]
    """The new ones."""
    pairs: frozenset[tuple[Label, frozenset[str]]]
    """Each with the metadata keys that occur with it."""
    places: KnownRows | None


class Relabelling:
    """The use case. Where there is a log, all goes in one step, for readers and on the disk."""

    def __init__(self, permissions: Permissions, cells: OpenCells) -> None:
        self._permissions = permissions
        self._cells = cells

    async def relabel(self, token: str, read_token: str, order: RelabelOrder) -> Relabelled:
        """Give the documents that the caller may read and write their new labels.

        Raises:
            InvalidGrant, RealRetrievalOff: if the grants are not one caller's to write and to read.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            InvalidRequest: naming what of the filter or the change does not fit.
            LimitExceeded: if there would be more different labels than can be checked.
            AccessDenied: if a new label is not one that the caller may write; then nothing is changed.
        """
        writable = await self._permissions.require(token, Action.WRITE)
        readable = await self._permissions.require_reading(read_token)
        require_same_caller(readable, writable)
        if order.metadata is not None:
            refuse_oversized(order.metadata)
        eyes = AllOfThem([readable, writable])
        async with self._cells.lease(writable.grant.tenant_id) as cell:
            collection = await seen_collection(cell, order.collection_id, readable)
            if cell is not None and collection is not None:
                reader = await collection.reader_after_load()
                if await reader.has_visible(readable):
                    await refuse_misspelt(order.metadata, reader, readable)
                    if order.dry_run:
                        planned = await _planned(reader, eyes, order)
                        if not planned.relabelled:
                            await refuse_senseless(order.metadata, reader, readable)
                        return _told(planned, order)
                    return await _relabel(cell, (writable, readable), eyes, order)
        refuse_unseen(order.collection_id)
        return Relabelled(0)


async def _planned(reader: CollectionReader, eyes: Eyes, order: RelabelOrder) -> _PlannedRows:
    selected = await reader.select(eyes, metadata=order.metadata, document_ids=order.document_ids)
    # In a thread: 100,000 rows take 0.1 s.
    return await asyncio.to_thread(_plan, selected, order.change)


def _plan(selected: SelectedRows, change: LabelChange) -> _PlannedRows:
    becomes = change.of_each(selected.labels)
    changed = [number for number, label in enumerate(selected.labels) if label in becomes]
    labels = frozenset(becomes.values())
    if len(labels) > _MOST_LABELS or sum(label.weight // 2 for label in labels) > _MOST_LABEL_BYTES:
        raise LimitExceeded(
            f"the documents would have {len(labels):,} different labels, of which {_MOST_LABELS:,} or 1 MiB can be "
            "checked at once; relabel fewer"
        )
    relabelled = [(selected.document_ids[number], becomes[selected.labels[number]]) for number in changed]
    places = selected.places
    return _PlannedRows(
        relabelled,
        labels,
        frozenset((becomes[selected.labels[number]], selected.key_sets[number]) for number in changed),
        None if places is None else KnownRows(places.index, places.numbers[np.array(changed, dtype=np.int64)]),
    )


def _told(planned: _PlannedRows, order: RelabelOrder) -> Relabelled:
    return Relabelled(len(planned.relabelled), tuple(planned.labels - order.checked_labels))


async def _relabel(
    cell: OpenCell,
    grants: tuple[Visibility, Visibility],
    eyes: Eyes,
    order: RelabelOrder,
) -> Relabelled:
    writable = grants[0]
    async with cell.writer:
        for each in grants:
            require_living(each.grant)
        # Anew: whoever had the lock before may have dropped it, and another made one of its name.
        collection = await cell.collection(order.collection_id)
        if collection is None:
            return Relabelled(0)
        async with collection.same_index():
            planned = await _planned(collection.reader(), eyes, order)
            told = _told(planned, order)
            if told.unchecked_labels:
                return told
            await _require_writable(planned, writable)
            if planned.relabelled:
                await _write(cell, collection, planned)
    writable.count_rows(told.count)
    log.info(
        "documents relabelled",
        tenant_id=cell.tenant_id,
        collection_id=order.collection_id,
        subject=writable.grant.subject,
        rows=told.count,
    )
    return told


async def _require_writable(planned: _PlannedRows, writable: Visibility) -> None:
    refused = planned.labels - await writable.of(planned.labels)
    if refused:
        count = sum(label in refused for _, label in planned.relabelled)
        violation = FieldViolation("change", f"would give {count:,} documents labels that this caller may not write")
        raise AccessDenied("the policy does not let this caller write these labels", violations=[violation])


async def _write(cell: OpenCell, collection: OpenCollection, planned: _PlannedRows) -> None:
    entries = collection.catalogue.entries_of(planned.pairs)

    def store() -> int:
        collection.catalogue.store(entries)
        return cell.cell.relabel(collection.info.collection_id, planned.relabelled)

    def remember(position: int) -> None:
        collection.catalogue.add(entries)
        collection.apply(IndexChange(position, relabelled=planned.relabelled, rows=planned.places))

    await cell.write("relabel", store, remember)
