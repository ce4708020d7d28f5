"""Whether a tenant is this shard's. Asked for each call, after it was authorised and before the tenant is looked at.

The cell says who owns a tenant, whatever the placement says: one that is here is answered from here until it has moved.
The placement says where a tenant begins that has no cell anywhere.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import structlog

from vecsec_chassis.calls import current_store_id
from vecsec_chassis.domain.errors import RetrievalUnavailable, StoreDamaged, WrongShard
from vecsec_chassis.placement.placement import Placement
from vecsec_retrieval.shard.survey import Survey

log = structlog.get_logger()

_RETRY_SECONDS = 0.5


class ShardCells(Protocol):
    """The cells that are here."""

    @property
    def store_id(self) -> str:
        """The id of their store."""
        ...

    @property
    def lasting_store_id(self) -> str:
        """The same; empty while the next process would not find it."""
        ...

    @property
    def placement_epoch(self) -> int:
        """The highest epoch of a placement that this shard went by."""
        ...

    def epoch(self, tenant_id: str) -> int | None:
        """Since which epoch the tenant's cell is this shard's; None if there is none."""
        ...

    def epochs(self) -> Mapping[str, int]:
        """The same of all cells; the same object while they are the same."""
        ...


class OwnTenants:
    """What this shard may answer for. Used on the event loop."""

    def __init__(
        self, shard: str, placement: Callable[[], Placement], cells: ShardCells, survey: Survey | None = None
    ) -> None:
        """`placement` is that in force, `survey` what the other shards hold."""
        self.shard = shard
        self._placement = placement
        self._cells = cells
        self.survey = survey or Survey()
        self._beginning: set[str] = set()
        self._told: set[str] = set()

    def demand(self, tenant_id: str) -> None:
        """Let calls for this shard's tenants pass.

        Raises:
            WrongShard: naming the shard whose tenant it is.
            RetrievalUnavailable: while it is not known whose it is, or if the caller means another store.
            StoreDamaged: if two shards hold it since the same epoch.
        """
        self._demand_own(tenant_id)
        # Only then: of a placement that names wrong addresses the caller has to hear, not that there are two stores.
        demand_store_meant(self._cells.lasting_store_id)

    def _demand_own(self, tenant_id: str) -> None:
        here, there = self._cells.epoch(tenant_id), self.survey.holder(tenant_id)
        if here is None:
            if there is not None:
                raise WrongShard(there.shard)
            self._demand_placed_here(tenant_id)
        elif there is not None and there.epoch >= here:
            self._tell(tenant_id, here, there.shard, there.epoch)
            if there.epoch > here:
                raise WrongShard(there.shard)
            raise StoreDamaged(
                f"the store of tenant {tenant_id!r} is on two shards; nothing was deleted; "
                "put aside the one that was copied",
                detail=f"shards {self.shard!r} and {there.shard!r} both hold it since epoch {here}",
            )

    def _demand_placed_here(self, tenant_id: str) -> None:
        placement = self._placement()
        owner = placement.owner(tenant_id)
        if owner.name != self.shard:
            raise WrongShard(owner.name)
        if placement.epoch < self._cells.placement_epoch:
            raise RetrievalUnavailable(
                "this shard has read an older placement than before; try again in a moment",
                detail=f"epoch {placement.epoch}; it went by {self._cells.placement_epoch} already",
                retry_after=_RETRY_SECONDS,
            )
        if placement.epoch > self._cells.placement_epoch:
            raise RetrievalUnavailable(
                "this shard cannot note its placement, so that no tenant begins here; tell whoever runs VecSec",
                detail=f"epoch {placement.epoch}; noted in the store is {self._cells.placement_epoch}",
                retry_after=_RETRY_SECONDS,
            )
        missing = self.missing
        if missing:
            raise RetrievalUnavailable(
                "it is not known yet whether another shard holds this tenant; try again in a moment",
                detail=f"no word by epoch {placement.epoch} from {', '.join(missing)}",
                retry_after=_RETRY_SECONDS,
            )

    @contextmanager
    def beginning(self, tenant_id: str) -> Iterator[None]:
        """Begin a tenant's cell inside the block; other shards that ask meanwhile are told that it is here.

        Raises:
            as `demand`.
        """
        self.demand(tenant_id)
        self._beginning.add(tenant_id)
        try:
            yield
        finally:
            self._beginning.discard(tenant_id)

    @property
    def placement_epoch(self) -> int:
        """Of the placement in force; of the one before, while it is not noted in the store."""
        return min(self._placement().epoch, self._cells.placement_epoch)

    @property
    def is_draining(self) -> bool:
        """Whether the placement in force gives this shard no new tenants."""
        own = self._placement().shard(self.shard)
        return own is not None and own.is_draining

    @property
    def missing(self) -> list[str]:
        """The shards that have not told yet what they hold; until then no tenant begins here."""
        return self.survey.missing(self._placement(), self.shard)

    def cells(self) -> Mapping[str, int]:
        """All tenants whose cell is here or about to be, and since which epoch."""
        if not self._beginning:
            return self._cells.epochs()
        return {tenant_id: self._placement().epoch for tenant_id in tuple(self._beginning)} | dict(self._cells.epochs())

    def displaced(self) -> list[str]:
        """Tenants whose cell is here though the placement has them elsewhere."""
        placement = self._placement()
        return [tenant_id for tenant_id in self._cells.epochs() if placement.owner(tenant_id).name != self.shard]

    def _tell(self, tenant_id: str, here: int, other: str, there: int) -> None:
        if tenant_id not in self._told:
            self._told.add(tenant_id)
            log.error("another shard owns this cell", tenant_id=tenant_id, epoch=here, shard=other, its_epoch=there)


class EverybodysShard:
    """In place of `OwnTenants` where there are no shards."""

    def __init__(self, store_id: Callable[[], str] = lambda: "") -> None:
        """`store_id` is empty where any number of services share a store, and while the store's own is not on its
        disk."""
        self._store_id = store_id

    def demand(self, tenant_id: str) -> None:
        """Every tenant is this service's.

        Raises:
            RetrievalUnavailable: if the caller means another store.
        """
        demand_store_meant(self._store_id())

    @contextmanager
    def beginning(self, tenant_id: str) -> Iterator[None]:
        """Any may begin."""
        yield


def demand_store_meant(store_id: str) -> None:
    """Refuse callers who mean another store: behind one name there are two, each with rows that the other lacks.

    Raises:
        RetrievalUnavailable: then.
    """
    meant = current_store_id()
    if meant and store_id and meant != store_id:
        raise RetrievalUnavailable(
            "another vector store answers here than the one that is meant; try again in a moment",
            detail=f"the caller means store {meant}, this is {store_id}",
            retry_after=_RETRY_SECONDS,
        )
