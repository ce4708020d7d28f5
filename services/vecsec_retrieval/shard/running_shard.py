"""This service as one shard of several: its placement, its tenants and the other shards."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
from opentelemetry.metrics import Meter

from vecsec_chassis.placement.placement import Placement
from vecsec_chassis.placement.placement_file import demand_named
from vecsec_chassis.placement.watched_placement import WatchedPlacement
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_retrieval.shard.asking import OtherShards
from vecsec_retrieval.shard.own_tenants import OwnTenants, ShardCells
from vecsec_retrieval.shard.survey import Survey

log = structlog.get_logger()


class NotedCells(ShardCells, Protocol):
    """The cells that are here, and what the store notes of the placement."""

    @property
    def known_shards(self) -> frozenset[str]:
        """All shards of the last placement that this shard went by."""
        ...

    def note_placement(self, shard: str, epoch: int, known_shards: Collection[str]) -> None:
        """Have it on the disk that this shard goes by a placement of this epoch, with these shards; raises OSError if
        that cannot be."""
        ...


@dataclass(frozen=True, slots=True)
class RunningShard:
    """A shard."""

    tenants: OwnTenants
    others: OtherShards


@asynccontextmanager
async def running_shard(
    name: str, placement_file: Path, cells: NotedCells, meter: Meter, certificates: WatchedCertificates | None
) -> AsyncIterator[RunningShard]:
    """The shard of this name, whose placement is watched until the block ends.

    Raises:
        ConfigurationError: if the placement cannot be used, or does not name the shard.
    """

    survey, is_noted = Survey(), True

    def go_by(placement: Placement) -> None:
        demand_named(placement, name)
        if placement.epoch >= cells.placement_epoch:  # by an older one nothing begins anyway
            survey.refuse_loss(placement, cells.known_shards, cells.placement_epoch)
        note(placement)

    def note(placement: Placement) -> None:
        """Before anything is begun by it: started again with an older file, this shard begins nothing by that."""
        nonlocal is_noted
        try:
            cells.note_placement(name, placement.epoch, [shard.name for shard in placement.shards])
        except OSError as error:
            if is_noted:
                log.error("placement cannot be noted in the store; until it can, nothing begins", reason=error.strerror)
            is_noted = False
        else:
            is_noted = True

    placement = WatchedPlacement(placement_file, meter, demand=go_by)
    tenants = OwnTenants(name, lambda: placement.current, cells, survey)
    async with placement.watching():
        yield RunningShard(tenants, OtherShards(tenants, placement, note, cells.store_id, certificates))
