"""A tenant's collections, as far as a grant sees into them."""

from dataclasses import dataclass

from vecsec_chassis.access import Action
from vecsec_retrieval.open_cells import OpenCells
from vecsec_retrieval.permissions import Permissions
from vecsec_retrieval.rows import CollectionInfo


@dataclass(frozen=True, slots=True)
class VisibleCollection:
    """A collection and how many of its documents are visible: at least one."""

    info: CollectionInfo
    document_count: int


class Listing:
    """The use case."""

    def __init__(self, permissions: Permissions, cells: OpenCells) -> None:
        self._permissions = permissions
        self._cells = cells

    async def list_collections(self, token: str) -> list[VisibleCollection]:
        """The collections with visible documents, by id.

        Raises:
            InvalidGrant: if the caller may not read.
        """
        grant = await self._permissions.require(token, Action.READ)
        visibility = self._permissions.visibility(grant)
        async with self._cells.lease(grant.tenant_id) as cell:
            collections = [] if cell is None else await cell.collections()
            counted = [
                VisibleCollection(collection.info, await collection.reader().count(visibility))
                for collection in collections
            ]
        return [each for each in counted if each.document_count]
