"""A store and its cells know which shard they are, and since when: two cannot own one."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from vecsec_chassis.domain.errors import ConfigurationError, StoreDamaged
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, Record
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.folder.store_identity import IDENTITY_FILE


def store(path: Path, shard: str | None = "shard-0", epoch: int = 1) -> EmbeddedCellStore:
    made = EmbeddedCellStore(path, shard=shard)
    if shard is not None:
        made.cells.note_placement(shard, epoch)
    return made


def begun(path: Path, *tenant_ids: str, shard: str | None = "shard-0", epoch: int = 1) -> None:
    with closing(store(path, shard, epoch)) as made:
        for tenant_id in tenant_ids:
            opened(made, tenant_id).close()


def opened(made: EmbeddedCellStore, tenant_id: str) -> EmbeddedCell:
    cell = made.open(tenant_id, create=True)
    assert cell is not None
    return cell


def marks(path: Path, tenant_id: str) -> tuple[str | None, int]:
    with closing(Record(path / tenant_id / DATABASE_FILE)) as record:
        return record.marks.shard, record.marks.epoch


def test_a_cell_bears_its_shard_and_the_epoch_in_which_it_began(tmp_path: Path) -> None:
    begun(tmp_path, "tenant_a", epoch=3)
    begun(tmp_path, "tenant_a", "tenant_b", epoch=7)
    assert marks(tmp_path, "tenant_a") == ("shard-0", 3)
    assert marks(tmp_path, "tenant_b") == ("shard-0", 7)
    with closing(store(tmp_path, epoch=7)) as again:
        assert again.cells.epochs() == {"tenant_a": 3, "tenant_b": 7}
        assert again.cells.placement_epoch == 7


def test_a_store_of_before_there_were_shards_becomes_one_and_its_cells_are_the_oldest(tmp_path: Path) -> None:
    """So that no copy of it is ever taken for newer than what another shard has."""
    begun(tmp_path, "tenant_a", shard=None)
    begun(tmp_path, "tenant_a", epoch=5)
    assert marks(tmp_path, "tenant_a") == ("shard-0", 0)
    with closing(store(tmp_path, epoch=5)) as again:
        assert again.cells.epoch("tenant_a") == 0
        assert again.cells.epoch("tenant_b") is None


def test_an_epoch_is_never_forgotten(tmp_path: Path) -> None:
    begun(tmp_path, "tenant_a", epoch=7)
    with closing(store(tmp_path, epoch=2)) as again:
        assert again.cells.placement_epoch == 7
    assert json.loads((tmp_path / IDENTITY_FILE).read_text())["placement_epoch"] == 7


def test_the_disk_of_another_shard_is_refused_in_one_line(tmp_path: Path) -> None:
    begun(tmp_path, "tenant_a")
    with pytest.raises(ConfigurationError) as refused:
        EmbeddedCellStore(tmp_path, shard="shard-1")
    assert str(refused.value) == (
        f"CHROMA_PATH: the store at {tmp_path} is shard 'shard-0', and VECSEC_SHARD is 'shard-1'; "
        "mount that shard's own disk"
    )


def test_a_shards_disk_is_not_taken_for_the_store_of_everybody(tmp_path: Path) -> None:
    begun(tmp_path, "tenant_a")
    with pytest.raises(ConfigurationError) as refused:
        EmbeddedCellStore(tmp_path)
    assert str(refused.value) == (
        f"CHROMA_PATH: the store at {tmp_path} is shard 'shard-0' of a placement; "
        "set VECSEC_SHARD and VECSEC_PLACEMENT_FILE, for others may hold tenants too"
    )


def test_a_cell_of_another_shard_is_refused_in_one_line(tmp_path: Path) -> None:
    """Even where it bears the store's own id, as where the whole disk was copied and renamed by hand."""
    begun(tmp_path / "a", "tenant_a", "tenant_b")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    identity = tmp_path / "b" / IDENTITY_FILE
    identity.write_text(identity.read_text().replace("shard-0", "shard-1"))
    with closing(store(tmp_path / "b", "shard-1")) as copied, pytest.raises(StoreDamaged) as refused:
        copied.open("tenant_a", create=False)
    assert refused.value.message == (
        "the store of tenant 'tenant_a' is a cell of shard 'shard-0'; nothing was deleted; "
        "put it back there, or restore this shard's own"
    )
