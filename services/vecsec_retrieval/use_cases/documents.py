"""Documents by id, among those that a grant makes visible or may delete; and all of a tenant's, read anew."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from vecsec_chassis.domain.access import Action
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.model.answer_size import refuse_oversized_answer
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.use_cases.permissions import Permissions, refuse_unseen
from vecsec_retrieval.visibility.residuals import Visibility
from vecsec_retrieval.visibility.tagging import label_key

log = structlog.get_logger()


class DocumentAccess:
    """The use cases."""

    def __init__(self, permissions: Permissions, cells: OpenCells, *, max_answer_bytes: int) -> None:
        self._permissions = permissions
        self._cells = cells
        self._max_answer_bytes = max_answer_bytes

    async def get(
        self, token: str, collection_id: str, document_ids: Sequence[str], *, include_embeddings: bool
    ) -> list[Document]:
        """The visible documents in the order of the ids; those that are missing or hidden are left out alike.

        Raises:
            InvalidGrant, AccessDenied, RealRetrievalOff: if the caller may not read, or not so.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            LimitExceeded: if the documents are larger together than an answer may be.
        """
        grant = await self._permissions.require_reading(token, embeddings=include_embeddings)
        visibility = self._permissions.visibility(grant)
        async with self._cells.lease(grant.tenant_id) as cell:
            collection = None if cell is None else await cell.collection(collection_id)
            if collection is None:
                refuse_unseen(collection_id)
                return []
            reader = collection.reader()
            documents = await reader.get(list(dict.fromkeys(document_ids)), visibility)
            if not documents and not await reader.has_visible(visibility):
                refuse_unseen(collection_id)
            if documents and include_embeddings:
                documents = await with_embeddings(collection, documents, visibility)
        refuse_oversized_answer(documents, self._max_answer_bytes)
        return documents

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

    async def reread(self, token: str) -> None:
        """For operators who do not trust what is in memory: let go of it, open the cell again and begin to read it.
        Calls in flight end with what they began with; searches meanwhile read from the store.

        Raises:
            InvalidGrant: if the caller may not configure.
            StoreDamaged: if the cell cannot be opened any more.
        """
        grant = await self._permissions.require(token, Action.CONFIGURE)
        await self._cells.close_one(grant.tenant_id)
        async with self._cells.lease(grant.tenant_id) as cell:
            for collection in [] if cell is None else await cell.collections():
                collection.start_loading()
        log.info("tenant is read anew", tenant_id=grant.tenant_id, subject=grant.subject)


async def with_embeddings(
    collection: OpenCollection, documents: Sequence[Document], visibility: Visibility
) -> list[Document]:
    """The documents that are still there and visible, with their embeddings."""
    embeddings = await collection.embeddings([document.document_id for document in documents], visibility)
    return [
        replace(document, embedding=embeddings[document.document_id])
        for document in documents
        if document.document_id in embeddings
    ]


async def _delete_permitted(
    cell: OpenCell, collection: OpenCollection, document_ids: Sequence[str], visibility: Visibility
) -> int:
    existing = await collection.existing(document_ids)
    labels = {label_key(row.label): row.label for row in existing.values() if row.label is not None}
    deletable = await visibility.of(labels)
    to_delete = [
        document_id
        for document_id, row in existing.items()
        if row.label is not None and label_key(row.label) in deletable
    ]
    if to_delete:
        await cell.write(
            "delete",
            lambda: cell.cell.delete(collection.info.collection_id, to_delete),
            lambda: collection.apply(lambda index: index.delete(to_delete)),
        )
    return len(to_delete)
