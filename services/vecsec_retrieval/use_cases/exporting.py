"""All of a tenant's documents that a grant sees, page by page, as they were at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo, Document
from vecsec_retrieval.model.store import RowsWanted, moment_not_held
from vecsec_retrieval.use_cases.documents import count_that_fits, refuse_oversized_answer
from vecsec_retrieval.use_cases.listing import position_of
from vecsec_retrieval.visibility.permissions import Permissions, Visibility
from vecsec_retrieval.visibility.visible_rows import filter_visible, visible_rows_condition

_ROWS_AT_ONCE = 200
"""Some milliseconds; so many fit into an answer, if they are not unusually long."""


@dataclass(frozen=True, slots=True)
class ExportedPage:
    """Some of a tenant's documents."""

    moment: str
    """What they are of; empty where the store can hold none."""
    collection: CollectionInfo | None
    """Theirs; None if there are no more."""
    documents: Sequence[Document]
    next_page_token: str
    """Empty if there are no more."""


class DocumentExport:
    """The use case."""

    def __init__(
        self, permissions: Permissions, cells: OpenCells, metrics: RetrievalMetrics, *, max_answer_bytes: int
    ) -> None:
        self._permissions = permissions
        self._cells = cells
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    async def page(self, token: str, *, moment: str, page_token: str) -> ExportedPage:
        """The documents behind `page_token` as they were at a moment, or now if that is empty, and then held.

        Which of them the caller sees is decided by the grant, which is of now, and by each one's label of that moment.

        Raises:
            InvalidGrant, RealRetrievalOff: if the caller may not read.
            AccessDenied: if the caller may not configure: each document comes with its embedding.
            InvalidRequest: if the moment is held no more, or the page token is not one.
            LimitExceeded: if a document alone is larger than an answer may be.
        """
        visibility = await self._permissions.require_reading(token, embeddings=True)
        first_collection_id, first_after_id = position_of(page_token)
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            if cell is None and moment:
                raise moment_not_held()  # the rest of a tenant that is gone meanwhile is not the end of it
            if cell is None:
                return ExportedPage(moment, None, (), "")
            moment = moment or await cell.hold_moment()
            for collection in await cell.collections():
                collection_id = collection.info.collection_id
                if collection_id < first_collection_id:
                    continue
                after_id = first_after_id if collection_id == first_collection_id else ""
                documents = await self._visible(cell, collection, visibility, moment, after_id)
                if documents:
                    page = documents[: count_that_fits(documents, self._max_answer_bytes)]
                    refuse_oversized_answer(page or documents[:1], self._max_answer_bytes)
                    visibility.count_rows(len(page))
                    # The last one that is seen: ids of hidden rows behind it are nobody's to know.
                    return ExportedPage(moment, collection.info, page, f"{collection_id}:{page[-1].document_id}")
        return ExportedPage(moment, None, (), "")

    async def _visible(
        self, cell: OpenCell, collection: OpenCollection, visibility: Visibility, moment: str, after_id: str
    ) -> list[Document]:
        """The next visible documents of a collection; none if there are no more."""
        table = await collection.catalogue.labels()
        # Labels are never taken out of the catalogue, so that those of any moment are among them.
        condition = visible_rows_condition(table, await visibility.in_table(table))
        if condition is None or condition.label_keys is None:
            return []
        collection_id, documents = collection.info.collection_id, list[Document]()
        while True:
            # As many as fit in any case: a page that was cut short would tell of hidden rows.
            count = _ROWS_AT_ONCE - len(documents)
            page = await cell.rows_at(moment, collection_id, RowsWanted(condition.label_keys, after_id, count))
            documents += (await filter_visible(page.rows, cell.tenant_id, visibility, self._metrics)).visible.values()
            after_id = page.next_after_id
            if len(documents) == _ROWS_AT_ONCE or not after_id:
                return documents
