"""A shard whose store takes no writes goes on with what it has, and begins nothing before its placement is noted."""

import errno
from collections.abc import Collection
from pathlib import Path

import pytest
from opentelemetry.metrics import NoOpMeter

from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable
from vecsec_retrieval.shard.running_shard import running_shard


class Store:
    """The list of a store's cells, on a disk that may be full."""

    store_id = lasting_store_id = "own"

    def __init__(self) -> None:
        self.is_full = False
        self.placement_epoch = 0
        self.known_shards: frozenset[str] = frozenset()

    def epoch(self, tenant_id: str) -> int | None:
        return 1 if tenant_id == "there" else None

    def epochs(self) -> dict[str, int]:
        return {"there": 1}

    def note_placement(self, shard: str, epoch: int, known_shards: Collection[str]) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if epoch >= self.placement_epoch:
            self.placement_epoch, self.known_shards = epoch, frozenset(known_shards)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "placement.yaml"
    path.write_text("epoch: 4\nshards: [{name: shard-0, address: 'localhost:1'}]\n")
    return path


async def test_a_full_disk_costs_beginnings_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    store.is_full = True
    async with running_shard("shard-0", file, store, NoOpMeter("test"), None) as shard:
        shard.tenants.demand("there")
        with pytest.raises(RetrievalUnavailable, match="no tenant begins here"):
            shard.tenants.demand("new")
        assert "placement cannot be noted in the store; until it can, nothing begins" in capsys.readouterr().out
        store.is_full = False
        async with shard.others.being_asked():
            shard.tenants.demand("new")
    assert store.placement_epoch == 4


async def test_a_start_with_a_placement_that_lacks_a_shard_which_it_knew_is_refused(file: Path) -> None:
    store = Store()
    store.placement_epoch, store.known_shards = 3, frozenset({"shard-0", "shard-1"})
    with pytest.raises(ConfigurationError, match="shard 'shard-1' is gone from it without having been drained"):
        async with running_shard("shard-0", file, store, NoOpMeter("test"), None):
            pass
    store.placement_epoch = 5  # the file is older than what it knew: nothing begins by it
    async with running_shard("shard-0", file, store, NoOpMeter("test"), None) as shard:
        shard.tenants.demand("there")
        with pytest.raises(RetrievalUnavailable, match="an older placement than before"):
            shard.tenants.demand("new")
    store.placement_epoch = 3
    file.write_text(file.read_text() + "lost: [shard-1]\n")
    async with running_shard("shard-0", file, store, NoOpMeter("test"), None) as shard:
        shard.tenants.demand("there")
