"""All retrieval services behind the gateway, and which of them has a tenant. Live when the placement changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from cachetools import LRUCache

from vecsec_chassis.background import BackgroundTasks
from vecsec_chassis.domain.errors import WrongShard
from vecsec_chassis.placement.placement import Placement, Shard
from vecsec_chassis.placement.watched_placement import WatchedPlacement
from vecsec_gateway.peers.health import Tell
from vecsec_gateway.peers.shard_peer import PeerSettings, ShardPeer, shard_peer

log = structlog.get_logger()

_REMEMBERED_TENANTS = 100_000
_DRAIN_SECONDS = 30.0
"""How long calls may go on to a service that the placement names no more, or at another address."""


class Shards:
    """The peers by shard. Used on the event loop."""

    def __init__(self, placement: WatchedPlacement | Placement, settings: PeerSettings) -> None:
        self._watched = placement if isinstance(placement, WatchedPlacement) else None
        self._fixed = placement if isinstance(placement, Placement) else None
        self._settings = settings
        self._applied: Placement | None = None
        self._peers: dict[str, ShardPeer] = {}
        self._open: dict[str, AsyncExitStack] = {}
        self._of_tenant: LRUCache[str, ShardPeer] = LRUCache(_REMEMBERED_TENANTS)
        """As placed, or as a shard has said since."""
        self._changing = BackgroundTasks()
        self._turn = asyncio.Lock()
        self._show: Tell = _show_nothing

    @property
    def _placement(self) -> Placement:
        placement = self._fixed or (self._watched.current if self._watched is not None else None)
        assert placement is not None
        return placement

    @property
    def peers(self) -> Sequence[ShardPeer]:
        """All of them."""
        return tuple(self._peers.values())

    def of(self, tenant_id: str) -> ShardPeer:
        """The peer that has the tenant."""
        peer = self._of_tenant.get(tenant_id)
        if peer is None:
            owner = self._placement.owner(tenant_id)
            # While a new placement's peers are being opened, calls go on to those that there are.
            peer = self._peers.get(owner.name) or next(iter(self._peers.values()))
            if owner.name in self._peers:
                self._of_tenant[tenant_id] = peer
        return peer

    async def owner(self, tenant_id: str, refusal: WrongShard) -> ShardPeer:
        """The peer that has the tenant by a shard's own word, after a look for a newer placement.

        Raises:
            WrongShard: the same, if nobody is known by that name.
        """
        if self._watched is not None:
            await self._watched.look()
            # Not within this call: what is opened lives on, and would bear its request id and deadline for ever; nor
            # does it end when the caller hangs up.
            await asyncio.shield(self._changing.begin(self._change(), "talk to other shards"))
        peer = self._peers.get(refusal.metadata.get("shard", ""))
        if peer is None:
            raise refusal
        self._of_tenant[tenant_id] = peer
        return peer

    @property
    def are_serving(self) -> bool:
        """Whether all of them serve, and are what they should be."""
        return bool(self._peers) and all(peer.is_well for peer in self.peers)

    def count_open_circuits(self) -> int:
        """For how many tenants retrieval is left alone."""
        return sum(peer.tenant_circuits.count_open() for peer in self.peers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Talk to all shards until the block ends."""
        try:
            await self._change()
            if self._watched is not None:
                self._watched.on_change(lambda: self._changing.begin(self._change(), "talk to other shards"))
            yield
        finally:
            await self._changing.close()
            await asyncio.gather(*(opened.aclose() for opened in self._open.values()))

    def shown_by(self, show: Tell) -> None:
        """Call this after each look at a peer's health."""
        self._show = show

    async def _looked(self) -> None:
        await self._show()

    async def _change(self) -> None:
        """Have a peer for each shard of the placement, and none besides."""
        async with self._turn:
            placement = self._placement
            if placement == self._applied:
                return
            wanted = {shard.name: shard for shard in placement.shards}
            kept = {name: peer for name, peer in self._peers.items() if wanted.get(name) == peer.shard}
            peers, begun = dict(kept), dict[str, AsyncExitStack]()
            async with AsyncExitStack() as undo:  # all of them, or none
                for name in wanted.keys() - kept.keys():
                    begun[name] = await undo.enter_async_context(AsyncExitStack())
                    # A shard that moves keeps its store: another one that answers at the new address is not believed.
                    store_id = self._peers[name].store.store_id if name in self._peers else ""
                    peer = shard_peer(wanted[name], self._settings, self._looked, store_id)
                    peers[name] = await begun[name].enter_async_context(peer)
                undo.pop_all()
            left = {name: self._open.pop(name) for name in self._peers.keys() - kept.keys()}
            self._open |= begun
            self._peers, self._applied = peers, placement
            self._of_tenant.clear()
        for name, opened in left.items():
            log.info("a shard is asked no more", shard=name)
            self._changing.begin(_close_later(opened), "let calls to a former shard end")


async def _close_later(opened: AsyncExitStack) -> None:
    try:
        await asyncio.sleep(_DRAIN_SECONDS)
    finally:
        await opened.aclose()


async def _show_nothing() -> None:
    """Until there is something to be shown."""


def single(address: str) -> Placement:
    """The placement where there is none: one service, without a name, has all tenants."""
    return Placement(0, (Shard("", address),))
