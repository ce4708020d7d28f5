"""Deletes documents that a filter selects, or all of a collection: those alone that the caller may delete.

A filter tells of metadata, and who may delete a row need not be among its readers. So what a filter selects are rows
that may be read *and* deleted, by two grants.
"""

from collections.abc import Sequence

import structlog

from vecsec_chassis.domain.access import Action
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.model.filters import MetadataFilter, refuse_oversized
from vecsec_retrieval.search.known_keys import refuse_misspelt
from vecsec_retrieval.search.reader import SelectedRows
from vecsec_retrieval.use_cases.found_nothing import refuse_senseless
from vecsec_retrieval.use_cases.seen_collection import seen_collection
from vecsec_retrieval.visibility.eyes import AllOfThem, Eyes, require_same_caller
from vecsec_retrieval.visibility.grant_life import require_living
from vecsec_retrieval.visibility.permissions import Permissions, Visibility, refuse_unseen

log = structlog.get_logger()


class DocumentDeletion:
    """The use cases. Where there is a log, all goes in one step, for readers and on the disk."""

    def __init__(self, permissions: Permissions, cells: OpenCells) -> None:
        self._permissions = permissions
        self._cells = cells

    async def by_filter(
        self, token: str, read_token: str, collection_id: str, metadata: MetadataFilter, *, dry_run: bool
    ) -> int:
        """How many documents were deleted, or would be: those that match, and that the caller may read and delete.

        Raises:
            InvalidGrant, RealRetrievalOff: if the grants are not one caller's to delete and to read.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            InvalidRequest: naming what of the filter does not fit; keys that no row has only where nothing is deleted,
                for a deletion that is tried again may have left none.
        """
        deletable = await self._permissions.require(token, Action.DELETE)
        readable = await self._permissions.require_reading(read_token)
        require_same_caller(readable, deletable)
        refuse_oversized(metadata)
        eyes = AllOfThem([readable, deletable])
        async with self._cells.lease(deletable.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, readable)
            if cell is not None and collection is not None:
                reader = await collection.reader_after_load()
                if await reader.has_visible(readable):
                    if dry_run:
                        await refuse_misspelt(metadata, reader, readable)
                        count = await reader.count(eyes, metadata)
                        if not count:
                            await refuse_senseless(metadata, reader, readable)
                        return count
                    return await _delete(cell, collection_id, [deletable, readable], eyes, metadata)
        refuse_unseen(collection_id)
        return 0

    async def whole_collection(self, token: str, collection_id: str, *, dry_run: bool) -> int:
        """How many documents were deleted, or would be: all that the caller may delete. Where none is left, whoever may
        see it, the collection is gone, too.

        Raises:
            InvalidGrant: if the grant is not one to delete, or expired before its turn to write came.
            CollectionNotFound: if nothing may be deleted in a collection other than the default one.
        """
        deletable = await self._permissions.require(token, Action.DELETE)
        async with self._cells.lease(deletable.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, deletable)
            if cell is not None and collection is not None:
                reader = await collection.reader_after_load()
                if await reader.has_visible(deletable):
                    if dry_run:
                        return await reader.count(deletable)
                    return await _delete(cell, collection_id, [deletable], deletable, None)
            if cell is not None and not dry_run:
                await _drop_emptied(cell, collection_id, is_seen=collection is not None)
        refuse_unseen(collection_id)
        return 0


async def _drop_emptied(cell: OpenCell, collection_id: str, *, is_seen: bool) -> None:
    """Let go of what a call left that was cut off, or of which all rows were deleted by their ids. One that the caller
    sees nothing of is not looked for in the store, which would take longer than if there were none: where it is in
    memory, no label in it is left."""
    collection = await cell.collection(collection_id)
    if collection is not None and (is_seen or collection.is_known_empty):
        async with cell.writer:
            await cell.drop_if_empty(collection_id)


async def _delete(
    cell: OpenCell,
    collection_id: str,
    grants: Sequence[Visibility],
    eyes: Eyes,
    metadata: MetadataFilter | None,
) -> int:
    """Delete what is seen and matches, or all of it, and the collection then if nothing is left."""
    count = 0
    async with cell.writer:
        for each in grants:
            require_living(each.grant)
        # Anew: whoever had the lock before may have dropped it, and another made one of its name.
        collection = await cell.collection(collection_id)
        if collection is not None:
            async with collection.same_index():
                selected = await collection.reader().select(eyes, metadata=metadata)
                count = len(selected.document_ids)
                if count:
                    await _delete_selected(cell, collection, selected)
            if metadata is None:
                await cell.drop_if_empty(collection_id)
    grants[0].count_rows(count)
    log.info(
        "documents deleted",
        tenant_id=cell.tenant_id,
        collection_id=collection_id,
        subject=grants[0].grant.subject,
        rows=count,
    )
    return count


async def _delete_selected(cell: OpenCell, collection: OpenCollection, selected: SelectedRows) -> None:
    ids = selected.document_ids

    def forget(position: int) -> None:
        collection.apply(IndexChange(position, deleted=ids, rows=selected.places))
        cell.rows_changed(-len(ids))  # here, for it is true also of a call that is cancelled meanwhile

    await cell.write("delete", lambda: cell.cell.delete(collection.info.collection_id, ids), forget)
