"""A tenant's collections, as far as a grant sees into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.model.filters import MetadataFilter, refuse_oversized
from vecsec_retrieval.model.rows import CollectionInfo
from vecsec_retrieval.model.sources import SourceSummary
from vecsec_retrieval.search.known_keys import refuse_misspelt
from vecsec_retrieval.search.reader import LabelCount
from vecsec_retrieval.use_cases.found_nothing import refuse_senseless
from vecsec_retrieval.use_cases.seen_collection import seen_collection
from vecsec_retrieval.use_cases.storage_quota import StorageQuota
from vecsec_retrieval.visibility.permissions import Permissions, refuse_unseen
from vecsec_retrieval.visibility.tagging import label_key

Item = TypeVar("Item")

_USUAL_PAGE = 500
_PAGE_BYTES = 1024 * 1024
"""Writers choose how much a label holds, and a message has a limit."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of what there is to list, and where to go on."""

    items: Sequence[Item]
    next_page_token: str
    """Empty if there are no more."""


@dataclass(frozen=True, slots=True)
class IdsWanted:
    """Which ids of a collection to list."""

    page_size: int
    """So many at most; 0 leaves it to the service."""
    page_token: str
    metadata: MetadataFilter | None = None
    include_count: bool = False


@dataclass(frozen=True, slots=True)
class IdPage(Page[str]):
    """Some ids of documents."""

    document_count: int | None
    """How many there are altogether; None if it was not asked for."""


@dataclass(frozen=True, slots=True)
class StoredSize:
    """How much a tenant has stored."""

    row_count: int
    disk_bytes: int | None
    """None where the disk is another machine's."""
    rows_per_second: float
    """That were stored in the last ten seconds."""


class CollectionListing:
    """The use case."""

    def __init__(self, permissions: Permissions, cells: OpenCells, quota: StorageQuota) -> None:
        self._permissions = permissions
        self._cells = cells
        self._quota = quota

    async def list_collections(self, token: str) -> list[tuple[CollectionInfo, int]]:
        """The collections with visible documents, by id, and how many these are.

        Raises:
            InvalidGrant, RealRetrievalOff: if the caller may not read.
        """
        visibility = await self._permissions.require_reading(token)
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collections = [] if cell is None else await cell.collections()
            counted = [(each.info, await each.reader().count(visibility)) for each in collections]
        return [(info, count) for info, count in counted if count]

    async def stored_size(self, token: str) -> StoredSize:
        """How much the tenant has stored, hidden rows too.

        Raises:
            InvalidGrant: if the caller may not configure.
        """
        tenant_id = (await self._permissions.require(token, Action.CONFIGURE)).grant.tenant_id
        async with self._cells.lease(tenant_id) as cell:
            if cell is None:
                return StoredSize(0, 0, 0.0)
            async with cell.writer:
                row_count = await cell.row_count()
            return StoredSize(row_count, await cell.disk_bytes(), self._quota.rows_per_second(tenant_id))

    async def list_labels(
        self, token: str, *, page_size: int, page_token: str
    ) -> Page[tuple[CollectionInfo, LabelCount]]:
        """The labels of documents that the grant sees, by collection and label key, from where `page_token` says.

        Raises:
            InvalidGrant, RealRetrievalOff: if the caller may not configure, or not now.
            InvalidRequest: if the page token is not one.
        """
        visibility = await self._permissions.require_reading(token, action=Action.CONFIGURE)
        first_collection_id, first_after_key = position_of(page_token)
        found: list[tuple[CollectionInfo, LabelCount]] = []
        labels_left, bytes_left = page_size or _USUAL_PAGE, _PAGE_BYTES
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            for collection in [] if cell is None else await cell.collections():
                collection_id = collection.info.collection_id
                if collection_id < first_collection_id:
                    continue
                after_key = first_after_key if collection_id == first_collection_id else ""
                counts = await collection.reader().label_counts(visibility, after_key=after_key, limit=labels_left)
                for each in counts:
                    if each.document_count:
                        found.append((collection.info, each))
                    labels_left -= 1
                    bytes_left -= each.label.weight
                    if not labels_left or bytes_left < 0:
                        return Page(found, f"{collection_id}:{label_key(each.label)}")
        return Page(found, "")

    async def list_sources(
        self, token: str, collection_id: str, *, page_size: int, page_token: str
    ) -> Page[SourceSummary]:
        """The sources of visible documents by their ids, from behind the id that the page token is.

        Raises:
            InvalidGrant, RealRetrievalOff: if the caller may not read.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
        """
        visibility = await self._permissions.require_reading(token)
        limit = page_size or _USUAL_PAGE
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, visibility)
            if collection is not None:
                reader = await collection.reader_after_load()
                sources = await reader.sources(visibility, after_id=page_token, limit=limit)
                if sources or await reader.has_visible(visibility):
                    return _page_of(sources, limit)
        refuse_unseen(collection_id)
        return Page((), "")

    async def list_document_ids(self, token: str, collection_id: str, wanted: IdsWanted) -> IdPage:
        """The ids of visible documents in ascending order, from behind the id that the page token is.

        Raises:
            InvalidGrant, RealRetrievalOff: if the caller may not read.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
            InvalidRequest: naming what of the filter does not fit what the caller sees.
        """
        visibility = await self._permissions.require_reading(token)
        if wanted.metadata is not None:
            refuse_oversized(wanted.metadata)
        limit, metadata = wanted.page_size or _USUAL_PAGE, wanted.metadata
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collection = await seen_collection(cell, collection_id, visibility)
            if collection is not None:
                reader = collection.reader() if metadata is None else await collection.reader_after_load()
                # On the first page only: where each page is deleted, a later one may find no row with the key.
                is_first = not wanted.page_token
                if metadata is not None and is_first and await reader.has_visible(visibility):
                    await refuse_misspelt(metadata, reader, visibility)
                ids = await reader.ids(visibility, after_id=wanted.page_token, limit=limit, metadata=metadata)
                visibility.count_rows(len(ids))
                if ids or await reader.has_visible(visibility):
                    if not ids and is_first:
                        await refuse_senseless(metadata, reader, visibility)
                    count = await reader.count(visibility, metadata) if wanted.include_count else None
                    return IdPage(ids, ids[-1] if len(ids) == limit else "", count)
        refuse_unseen(collection_id)
        return IdPage((), "", 0 if wanted.include_count else None)


def _page_of(sources: Sequence[SourceSummary], limit: int) -> Page[SourceSummary]:
    """As many as an answer can hold: at least the first, whatever its labels are."""
    bytes_left = _PAGE_BYTES
    for count, source in enumerate(sources, 1):
        bytes_left -= sum(label.weight for label in source.labels)
        if bytes_left < 0:
            return Page(sources[:count], source.mark.source_id)
    return Page(sources, sources[-1].mark.source_id if len(sources) == limit else "")


def position_of(page_token: str) -> tuple[str, str]:
    """The collection to go on in, and what to go on behind: the key of a label, or a document's id.

    Raises:
        InvalidRequest: if the token is not one.
    """
    collection_id, colon, key = page_token.partition(":")
    if page_token and not (colon and is_collection_id(collection_id)):
        raise InvalidRequest.of("page_token", "must be the next_page_token of an answer, or empty")
    return collection_id, key
