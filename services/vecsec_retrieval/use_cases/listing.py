"""A tenant's collections, as far as a grant sees into them."""

from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.domain.identifiers import is_collection_id
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.model.rows import CollectionInfo
from vecsec_retrieval.visibility.permissions import Permissions, refuse_unseen
from vecsec_retrieval.visibility.tagging import label_key

_USUAL_PAGE = 500
_PAGE_BYTES = 1024 * 1024
"""Writers choose how much a label holds, and a message has a limit."""


@dataclass(frozen=True, slots=True)
class VisibleCollection:
    """A collection and how many of its documents are visible: at least one."""

    info: CollectionInfo
    document_count: int


@dataclass(frozen=True, slots=True)
class LabelledDocuments:
    """The documents of one collection that bear one label."""

    collection_id: str
    label: Label
    document_count: int
    """At least one."""


@dataclass(frozen=True, slots=True)
class LabelPage:
    """Some labels, and where to go on."""

    labels: Sequence[LabelledDocuments]
    next_page_token: str
    """Empty if there are no more."""


@dataclass(frozen=True, slots=True)
class DocumentIdPage:
    """Some ids, and where to go on."""

    document_ids: Sequence[str]
    next_page_token: str
    """The last of these ids; empty if there are no more."""


class CollectionListing:
    """The use case."""

    def __init__(self, permissions: Permissions, cells: OpenCells) -> None:
        self._permissions = permissions
        self._cells = cells

    async def list_collections(self, token: str) -> list[VisibleCollection]:
        """The collections with visible documents, by id.

        Raises:
            InvalidGrant: if the caller may not read.
        """
        visibility = await self._permissions.require(token, Action.READ)
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collections = [] if cell is None else await cell.collections()
            counted = [
                VisibleCollection(collection.info, await collection.reader().count(visibility))
                for collection in collections
            ]
        return [each for each in counted if each.document_count]

    async def list_labels(self, token: str, *, page_size: int, page_token: str) -> LabelPage:
        """The labels of documents that the grant sees, by collection and label key, from where `page_token` says.

        Raises:
            InvalidGrant: if the caller may not configure.
            InvalidRequest: if the page token is not one.
        """
        visibility = await self._permissions.require(token, Action.CONFIGURE)
        position = _position(page_token)
        found: list[LabelledDocuments] = []
        labels_left, bytes_left = page_size or _USUAL_PAGE, _PAGE_BYTES
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            for collection in [] if cell is None else await cell.collections():
                collection_id = collection.info.collection_id
                if collection_id < position.collection_id:
                    continue
                after_key = position.label_key if collection_id == position.collection_id else ""
                counts = await collection.reader().label_counts(visibility, after_key=after_key, limit=labels_left)
                for each in counts:
                    if each.document_count:
                        found.append(LabelledDocuments(collection_id, each.label, each.document_count))
                    labels_left -= 1
                    bytes_left -= each.label.weight
                    if not labels_left or bytes_left < 0:
                        return LabelPage(found, f"{collection_id}:{label_key(each.label)}")
        return LabelPage(found, "")

    async def list_document_ids(
        self, token: str, collection_id: str, *, page_size: int, page_token: str
    ) -> DocumentIdPage:
        """The ids of visible documents in ascending order, from behind the id that `page_token` is.

        Raises:
            InvalidGrant, RealRetrievalOff: if the caller may not read.
            CollectionNotFound: if the caller sees nothing in a collection other than the default one.
        """
        visibility = await self._permissions.require_reading(token)
        limit = page_size or _USUAL_PAGE
        async with self._cells.lease(visibility.grant.tenant_id) as cell:
            collection = None if cell is None else await cell.collection(collection_id)
            if collection is not None:
                reader = collection.reader()
                ids = await reader.ids(visibility, after_id=page_token, limit=limit)
                if ids or await reader.has_visible(visibility):
                    return DocumentIdPage(ids, ids[-1] if len(ids) == limit else "")
        refuse_unseen(collection_id)
        return DocumentIdPage((), "")


@dataclass(frozen=True, slots=True)
class _Position:
    """Behind this label of this collection."""

    collection_id: str
    label_key: str


def _position(page_token: str) -> _Position:
    if not page_token:
        return _Position("", "")
    collection_id, colon, key = page_token.partition(":")
    if not colon or not is_collection_id(collection_id):
        raise InvalidRequest.of("page_token", "must be the next_page_token of an answer, or empty")
    return _Position(collection_id, key)
