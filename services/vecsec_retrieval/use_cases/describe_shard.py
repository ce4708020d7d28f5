"""Use case: who this service is, and how much it holds. It takes no grant, and names no tenant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vecsec_retrieval.cells.cell_sizes import CellSizes, ShardSize
from vecsec_retrieval.shard.own_tenants import OwnTenants
from vecsec_retrieval.shard.told_cells import ToldCells


@dataclass(frozen=True, slots=True)
class ShardDescription:
    """What others are told."""

    shard: str = ""
    store_id: str = ""
    placement_epoch: int = 0
    is_draining: bool = False
    displaced_count: int = 0
    size: ShardSize = field(default_factory=ShardSize)
    cells: Mapping[bytes, int] = field(default_factory=dict)
    """Since which epoch each is this shard's, by the tenant's digest; the same object while they are the same."""


class ShardDescriber:
    """Describes this service."""

    def __init__(self, own: OwnTenants | None, store_id: Callable[[], str], sizes: CellSizes | None) -> None:
        """`own` is None where there are no shards, `sizes` where the rows are on another machine; `store_id` is empty
        there, and while the store's own is not on its disk."""
        self._own = own
        self._store_id = store_id
        self._sizes = sizes
        self._told = ToldCells()

    async def describe(self, *, include_cells: bool, include_sizes: bool) -> ShardDescription:
        """Who this service is now; with its cells, if there are shards, and with what they hold."""
        sizes = self._sizes if include_sizes else None
        size = ShardSize() if sizes is None else await sizes.measure()
        if self._own is None:
            return ShardDescription(store_id=self._store_id(), size=size)
        return ShardDescription(
            shard=self._own.shard,
            store_id=self._store_id(),
            placement_epoch=self._own.placement_epoch,
            is_draining=self._own.is_draining,
            displaced_count=len(self._own.displaced()) if include_sizes else 0,
            size=size,
            cells=self._told.of(self._own.cells()) if include_cells else {},
        )
