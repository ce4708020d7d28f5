"""Which shard a tenant belongs to. Pure: the same file means the same to every process, in whatever order it stands.

Pinned tenants are where the pin says. All others are placed by rendezvous hashing: each shard draws a number for the
tenant, and the highest has it. So a shard that is added takes its share from all others alike and moves nobody else,
and one that is taken away leaves its tenants to all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

_DRAW_BYTES = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """One retrieval service with a store of its own."""

    name: str
    address: str
    """In gRPC's naming syntax."""
    is_draining: bool = False
    """Whether it gets no new tenants, because it is to be taken away."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The shards, and who is where."""

    epoch: int
    """Grows with every change of who is where."""
    shards: tuple[Shard, ...]
    """Each name once; at least one is not draining."""
    pinned: Mapping[str, str] = field(default_factory=dict)
    """The shard's name by tenant."""
    lost: frozenset[str] = frozenset()
    """Shards that are gone for good, with all that they held."""

    def owner(self, tenant_id: str) -> Shard:
        """The shard that the tenant belongs to."""
        pin = self.pinned.get(tenant_id)
        if pin is not None:
            return next(shard for shard in self.shards if shard.name == pin)
        taking = [shard for shard in self.shards if not shard.is_draining]
        return max(taking, key=lambda shard: (_draw(shard.name, tenant_id), shard.name))

    def shard(self, name: str) -> Shard | None:
        """The shard of this name; None if there is none."""
        return next((shard for shard in self.shards if shard.name == name), None)

    def places_like(self, other: "Placement") -> bool:
        """Whether every tenant, whatever its name, is where the other one has it."""
        mine, its = ({(shard.name, shard.is_draining) for shard in each.shards} for each in (self, other))
        return mine == its and dict(self.pinned) == dict(other.pinned)


def _draw(shard_name: str, tenant_id: str) -> bytes:
    """Not Python's own hash, which is another one in every process."""
    return blake2b(f"{shard_name}\0{tenant_id}".encode(), digest_size=_DRAW_BYTES, person=b"vecsec-shard").digest()
