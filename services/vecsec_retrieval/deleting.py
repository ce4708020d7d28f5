"""Removes documents that a grant may delete."""

from collections.abc import Sequence

from vecsec_chassis.access import Action
from vecsec_retrieval.open_cell import OpenCell
from vecsec_retrieval.open_cells import OpenCells
from vecsec_retrieval.open_collection import OpenCollection
from vecsec_retrieval.permissions import Permissions, refuse_unseen
from vecsec_retrieval.residuals import Visibility
from vecsec_retrieval.tagging import label_key


class Deleting:
    """The use case."""

    def __init__(self, permissions: Permissions, cells: OpenCells) -> None:
        self._permissions = permissions
        self._cells = cells

    async def delete(self, token: str, collection_id: str, document_ids: Sequence[str]) -> int:
        """How many documents were deleted; those that may not be deleted count as absent.

        Raises:
            InvalidGrant: if the grant is not one to delete.
            CollectionNotFound: if nothing may be deleted in a collection other than the default one.
        """
        grant = await self._permissions.require(token, Action.DELETE)
        visibility = self._permissions.visibility(grant)
        async with self._cells.lease(grant.tenant_id) as cell:
            collection = None if cell is None else await cell.collection(collection_id)
            if cell is not None and collection is not None:
                async with cell.writer:
                    deleted = await _delete_permitted(cell, collection, list(dict.fromkeys(document_ids)), visibility)
                if deleted or await collection.reader().has_visible(visibility):
                    return deleted
        refuse_unseen(collection_id)
        return 0


async def _delete_permitted(
    cell: OpenCell, collection: OpenCollection, document_ids: Sequence[str], visibility: Visibility
) -> int:
    existing = await collection.existing(document_ids)
    labels = {label_key(row.label): row.label for row in existing.values() if row.label is not None}
    deletable = await visibility.of(labels)
    doomed = [
        document_id
        for document_id, row in existing.items()
        if row.label is not None and label_key(row.label) in deletable
    ]
    if doomed:
        await cell.write(
            "delete",
            lambda: cell.cell.delete(collection.info.collection_id, doomed),
            lambda: collection.apply(lambda index: index.delete(doomed)),
        )
    return len(doomed)
