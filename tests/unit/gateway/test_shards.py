"""The peers while the placement changes: opened beside the calls that notice it, all of them or none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter
from support.sharded_stack import write_placement
from support.waiting import until

from vecsec_chassis.domain.errors import WrongShard
from vecsec_chassis.placement.placement import Shard
from vecsec_chassis.placement.watched_placement import WatchedPlacement
from vecsec_gateway.peers import shards as module
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.peers.shard_peer import PeerSettings, ShardPeer
from vecsec_gateway.peers.shards import Shards

_CALL: ContextVar[str] = ContextVar("call", default="")
_SETTINGS = PeerSettings(
    max_message_bytes=1024,
    lane_count=0,
    certificates=None,
    circuit_threshold=5,
    circuit_open_seconds=10,
    probe_seconds=0.05,
    own_delay=OwnDelay(),
)
_OLD, _NEW = {"shard-0": "localhost:1"}, {"shard-0": "localhost:1", "shard-1": "localhost:2", "shard-2": "localhost:3"}


class Peers:
    """Opens real peers, at a pace and with faults of the test's, and keeps which are open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open: list[Shard] = []
        self.opening: list[str] = []
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.broken = ""
        self._real = module.shard_peer
        monkeypatch.setattr(module, "shard_peer", self._peer)
        monkeypatch.setattr(module, "_DRAIN_SECONDS", 0.0)

    @asynccontextmanager
    async def _peer(self, shard: Shard, settings: Any, show: Any, store_id: str) -> AsyncIterator[ShardPeer]:
        self.opening.append(shard.name)
        await self.may_open.wait()
        if shard.name == self.broken:
            raise OSError("no descriptor left")
        async with self._real(shard, settings, show, store_id) as peer:
            self.open.append(shard)
            try:
                yield peer
            finally:
                self.open.remove(shard)

    @property
    def names(self) -> list[str]:
        return sorted(shard.name for shard in self.open)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Peers:
    return Peers(monkeypatch)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Shards, Path]]:
    """With a placement that is read anew when a shard refuses a tenant, and not before."""
    file = folder / "placement.yaml"
    write_placement(file, 1, _OLD)
    shards = Shards(WatchedPlacement(file, NoOpMeter("test")), _SETTINGS)
    async with shards.running():
        yield shards, file


async def test_what_a_call_has_opened_has_nothing_of_the_call(tmp_path: Path, peers: Peers) -> None:
    async with running(tmp_path) as (shards, file):
        seen: list[str] = []

        async def show() -> None:
            seen.append(_CALL.get())

        shards.shown_by(show)
        write_placement(file, 2, _NEW)

        async def call() -> None:
            _CALL.set("a caller's")
            await until(lambda: _is_owner_known(shards))

        await asyncio.create_task(call())
        assert peers.names == ["shard-0", "shard-1", "shard-2"]
        seen.clear()
        await until(lambda: len(seen) >= 6)
        assert set(seen) == {""}
    assert peers.names == []


async def test_a_caller_who_hangs_up_ends_no_change(tmp_path: Path, peers: Peers) -> None:
    async with running(tmp_path) as (shards, file):
        peers.may_open.clear()
        write_placement(file, 2, _NEW)
        peers.opening.clear()

        async def call() -> None:
            await until(lambda: _is_owner_known(shards))

        calling = asyncio.create_task(call())
        await until(lambda: peers.opening)
        calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()
        assert [peer.shard.name for peer in shards.peers] == ["shard-0"]
        peers.may_open.set()
        await until(lambda: len(shards.peers) == 3)


async def test_a_peer_that_cannot_be_opened_changes_nothing_and_leaves_nothing_open(
    tmp_path: Path, peers: Peers
) -> None:
    async with running(tmp_path) as (shards, file):
        [before] = shards.peers
        peers.broken = "shard-2"
        write_placement(file, 2, {**_NEW, "shard-0": "localhost:4"})
        with pytest.raises(OSError, match="no descriptor left"):
            await until(lambda: _is_owner_known(shards))
        assert shards.peers == (before,)
        assert peers.open == [before.shard]
        peers.broken = ""
        assert await _is_owner_known(shards)
        assert {peer.shard.address for peer in shards.peers} == {"localhost:4", "localhost:2", "localhost:3"}
        await until(lambda: peers.names == ["shard-0", "shard-1", "shard-2"])
    assert peers.open == [], "the former one, too"


async def _is_owner_known(shards: Shards) -> bool:
    """A call that shard 1 is said to have; a changed file is believed once it was found the same twice."""
    try:
        peer = await shards.owner("tenant", WrongShard("shard-1"))
    except WrongShard:
        return False
    return peer.shard.name == "shard-1"
