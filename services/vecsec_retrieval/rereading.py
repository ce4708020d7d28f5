"""What is in memory of a tenant, read from the store anew: for operators who do not trust it."""

import structlog

from vecsec_chassis.access import Action
from vecsec_retrieval.open_cells import OpenCells
from vecsec_retrieval.permissions import Permissions

log = structlog.get_logger()


class Rereading:
    """The use case."""

    def __init__(self, permissions: Permissions, cells: OpenCells) -> None:
        self._permissions = permissions
        self._cells = cells

    async def reread(self, token: str) -> None:
        """Let go of memory, open the cell again and begin to read it. Calls in flight end with what they began with;
        searches meanwhile read from the store.

        Raises:
            InvalidGrant: if the caller may not configure.
            StoreDamaged: if the cell cannot be opened any more.
        """
        grant = await self._permissions.require(token, Action.CONFIGURE)
        await self._cells.close_one(grant.tenant_id)
        async with self._cells.lease(grant.tenant_id) as cell:
            for collection in [] if cell is None else await cell.collections():
                collection.warm()
        log.info("tenant is read anew", tenant_id=grant.tenant_id, subject=grant.subject)
