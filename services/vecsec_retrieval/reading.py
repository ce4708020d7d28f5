"""Documents by id, among those that a grant makes visible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vecsec_retrieval.answer_size import refuse_oversized_answer
from vecsec_retrieval.open_cells import OpenCells
from vecsec_retrieval.open_collection import OpenCollection
from vecsec_retrieval.permissions import Permissions, refuse_unseen
from vecsec_retrieval.residuals import Visibility
from vecsec_retrieval.rows import Document


@dataclass(frozen=True, slots=True)
class GetRequest:
    """Which documents a caller wants."""

    grant: str
    collection_id: str
    document_ids: Sequence[str]
    include_embeddings: bool = False


class Reading:
    """The use case."""

    def __init__(self, permissions: Permissions, cells: OpenCells, *, max_answer_bytes: int) -> None:
        self._permissions = permissions
        self._cells = cells
        self._max_answer_bytes = max_answer_bytes

    async def get(self, request: GetRequest) -> list[Document]:
        """The visible documents in the order of the ids; those that are missing or hidden are left out alike.

        Raises:
            InvalidGrant, AccessDenied, RealRetrievalOff: if the caller may not read, or not so.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            LimitExceeded: if the documents are larger together than an answer may be.
        """
        documents = await self._get(request)
        refuse_oversized_answer(documents, self._max_answer_bytes)
        return documents

    async def _get(self, request: GetRequest) -> list[Document]:
        grant = await self._permissions.require_reading(request.grant, embeddings=request.include_embeddings)
        visibility = self._permissions.visibility(grant)
        document_ids = list(dict.fromkeys(request.document_ids))
        async with self._cells.lease(grant.tenant_id) as cell:
            collection = None if cell is None else await cell.collection(request.collection_id)
            if collection is not None:
                reader = collection.reader()
                documents = await reader.get(document_ids, visibility)
                if documents and request.include_embeddings:
                    return await with_embeddings(collection, documents, visibility)
                if documents or await reader.has_visible(visibility):
                    return documents
        refuse_unseen(request.collection_id)
        return []


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
