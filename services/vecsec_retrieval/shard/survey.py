"""What the other shards say that they hold. Pure.

A tenant without a cell here may have one elsewhere: it was placed anew and its cell has not moved yet. So nothing is
begun, and nothing is said to be empty, before every other shard that the placement names has told its cells while it
went by this placement or a newer one: from then on it begins none by an older one. And of two shards that go by the
same placement only one takes a tenant for its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.placement.placement import Placement

_DIGEST_BYTES = 16


def tenant_digest(tenant_id: str) -> bytes:
    """What shards tell each other in place of a tenant's id, which is nobody's business who does not know it."""
    return blake2b(tenant_id.encode(), digest_size=_DIGEST_BYTES, person=b"vecsec-tenant").digest()


@dataclass(frozen=True, slots=True)
class ShardWord:
    """What a shard says of itself."""

    shard: str
    store_id: str
    placement_epoch: int
    cells: Mapping[bytes, int] = field(default_factory=dict)
    """Since which epoch each is that shard's, by the tenant's digest."""
    is_draining: bool = False
    """Whether the placement that it goes by gives it no new tenants."""


class Holding(NamedTuple):
    """A cell elsewhere."""

    shard: str
    epoch: int


class Survey:
    """The last word of each other shard."""

    def __init__(self) -> None:
        self._words: dict[str, ShardWord] = {}
        self._holdings: dict[bytes, Holding] = {}

    def note(self, word: ShardWord) -> None:
        """A shard has told."""
        known = self._words.get(word.shard)
        self._words[word.shard] = word
        if known is None or known.cells != word.cells:
            self._gather()

    def keep_only(self, shards: frozenset[str]) -> None:
        """Forget what others said than these."""
        if self._words.keys() - shards:
            self._words = {name: word for name, word in self._words.items() if name in shards}
            self._gather()

    def refuse_loss(self, placement: Placement, known: frozenset[str], by_epoch: int) -> None:
        """Refuse a placement without a shard that may hold tenants: they would begin anew elsewhere, empty. It may go
        once it has said, by the placement of `by_epoch` in which it takes no new ones, that it holds none.

        Raises:
            ConfigurationError: naming the shard.
        """
        for name in sorted(known - {shard.name for shard in placement.shards} - placement.lost):
            word = self._words.get(name)
            if word is None or not word.is_draining or word.placement_epoch < by_epoch:
                raise ConfigurationError(
                    f"shard {name!r} is gone from it without having been drained; put it back with `draining: true` "
                    "until it holds no tenant, or name it under `lost` if it is gone for good, with all that it held"
                )
            if word.cells:
                raise ConfigurationError(
                    f"shard {name!r} is gone from it and still holds {len(word.cells)} tenants; put it back until they "
                    "have moved"
                )

    def holder(self, tenant_id: str) -> Holding | None:
        """The other shard that holds the tenant; of several the one that has it since the highest epoch."""
        return self._holdings.get(tenant_digest(tenant_id))

    def missing(self, placement: Placement, own_name: str) -> list[str]:
        """The shards without whose word nobody knows whether a tenant that has no cell here has one elsewhere."""
        return [
            shard.name
            for shard in placement.shards
            if shard.name != own_name
            and (shard.name not in self._words or self._words[shard.name].placement_epoch < placement.epoch)
        ]

    def _gather(self) -> None:
        holdings: dict[bytes, Holding] = {}
        for word in self._words.values():
            for digest, epoch in word.cells.items():
                known = holdings.get(digest)
                if known is None or known.epoch < epoch:
                    holdings[digest] = Holding(word.shard, epoch)
        self._holdings = holdings
