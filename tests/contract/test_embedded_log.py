"""What an embedded cell's log keeps for snapshots, and how a cell is met by the next process."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from contract.test_embedded import INFO, fill, opened
from support.waiting import until
from unit.retrieval.worlds import TENANT, add, collection_of, document, eyes, permit, world

from vecsec_chassis.domain.errors import RetrievalUnavailable, StoreDamaged
from vecsec_retrieval.model.store import SNAPSHOT_SUFFIX, UNFINISHED_SNAPSHOT, RowCondition, SnapshotName
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.change_log import EmbeddedChangeLog
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE, Record
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore


def name_at(cell: EmbeddedCell, position: int) -> SnapshotName:
    return SnapshotName(f"{cell.log.collection_key('documents')}-{position}.rows", 1, position)


def forgotten(cell: EmbeddedCell) -> int:
    with closing(Record(cell.log.snapshot_folder / DATABASE_FILE)) as record:
        return record.forget_replaced(1_000)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedCellStore:
    return EmbeddedCellStore(tmp_path / "chroma")


def test_threat_27_a_deletion_is_not_forgotten_while_the_snapshot_has_the_row(store: EmbeddedCellStore) -> None:
    fill(store, "tenant_a", 10)
    with closing(store), closing(opened(store, "tenant_a")) as cell:
        before = cell.log.position()
        assert cell.log.name_snapshot("documents", name_at(cell, before))
        cell.delete("documents", ["1", "2"])
        cell.delete("documents", ["3"])  # the last entry of a log stays in any case
        forgotten(cell)
        assert {change.document_id for change in cell.log.changes("documents", after=before, limit=10)} == {
            "1",
            "2",
            "3",
        }
        assert cell.log.name_snapshot("documents", name_at(cell, cell.log.position()))
        forgotten(cell)
        assert {change.document_id for change in cell.log.changes("documents", after=0, limit=20)} == {
            "0",
            *map(str, range(4, 10)),
            "3",
        }


@pytest.mark.parametrize("is_torn_before", [False, True])
def test_threat_27_a_late_snapshot_is_not_named_where_the_log_has_forgotten_deletions_since(
    store: EmbeddedCellStore, *, is_torn_before: bool
) -> None:
    """Its rows would be there again."""
    fill(store, "tenant_a", 10)
    with closing(store), closing(opened(store, "tenant_a")) as cell:
        late = name_at(cell, cell.log.position())
        cell.delete("documents", ["1"])
        cell.delete("documents", ["2"])
        newer = name_at(cell, cell.log.position())
        assert cell.log.name_snapshot("documents", newer)
        assert forgotten(cell)
        if is_torn_before:
            assert cell.log.name_snapshot("documents", None)
        assert not cell.log.name_snapshot("documents", late)
        assert cell.log.snapshot("documents") == (None if is_torn_before else newer)
        assert cell.log.name_snapshot("documents", newer)


def test_a_snapshot_of_a_time_that_is_not_yet_or_that_is_not_what_was_written_is_none(store: EmbeddedCellStore) -> None:
    """As where a file of the log was put back from a backup."""
    fill(store, "tenant_a", 10)
    with closing(store), closing(opened(store, "tenant_a")) as cell:
        name = name_at(cell, cell.log.position())
        cell.log.name_snapshot("documents", name)
        for change in ("position = position + 1", "checksum = 2", "file_name = 'x'"):
            with closing(sqlite3.connect(cell.log.snapshot_folder / DATABASE_FILE, isolation_level=None)) as database:
                assert cell.log.snapshot("documents") == name
                database.execute(f"UPDATE vecsec_snapshot SET {change}")
                assert cell.log.snapshot("documents") is None
            cell.log.name_snapshot("documents", None)
            cell.log.name_snapshot("documents", name)
        cell.log.name_snapshot("documents", name_at(cell, cell.log.position() + 1))
        assert cell.log.snapshot("documents") is None


def test_a_cell_that_was_closed_is_not_looked_through_again_by_the_next_process(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, "tenant_a", 10)
        fill(store, "tenant_b", 10)
    file = tmp_path / "tenant_b" / DATABASE_FILE
    file.write_bytes(file.read_bytes())  # nothing else, but who knows
    with closing(EmbeddedCellStore(tmp_path)) as store, patch.object(Record, "check", autospec=True) as check:
        for tenant_id in ("tenant_a", "tenant_b"):
            opened(store, tenant_id).close()
            opened(store, tenant_id).close()
        assert [call.args[0].database.parent.name for call in check.call_args_list] == ["tenant_b"]


@pytest.mark.parametrize("mark", ["", "{}", "[]", '{"database": 1}', '{"database": [1, 2]}', "\x00"])
def test_a_mark_that_says_nothing_has_the_cell_looked_through(tmp_path: Path, mark: str) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, "tenant_a", 10)
    (tmp_path / "tenant_a" / ".vecsec").write_text(mark)
    with closing(EmbeddedCellStore(tmp_path)) as store, patch.object(Record, "check", autospec=True) as check:
        opened(store, "tenant_a").close()
        assert check.called


def test_a_changed_log_is_looked_through_whatever_the_mark_says(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, "tenant_a", 500)
    file = tmp_path / "tenant_a" / DATABASE_FILE
    content = bytearray(file.read_bytes())
    with closing(sqlite3.connect(file)) as database:
        [root] = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'embeddings_queue'").fetchone()
    content[(root - 1) * 4096 : (root - 1) * 4096 + 20] = bytes(20)
    file.write_bytes(content)
    with closing(EmbeddedCellStore(tmp_path)) as store, pytest.raises(StoreDamaged):
        opened(store, "tenant_a")


def test_snapshots_that_were_being_written_when_a_process_ended_are_removed(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, "tenant_a", 10)
        with closing(opened(store, "tenant_a")) as cell:
            named = name_at(cell, cell.log.position())
            assert cell.log.name_snapshot("documents", named)
    folder = tmp_path / "tenant_a"
    unfinished, unnamed = folder / f"{UNFINISHED_SNAPSHOT}x", folder / f"{named.file_name[:-6]}7{SNAPSHOT_SUFFIX}"
    for file in (unfinished, unnamed, folder / named.file_name):
        file.write_bytes(b"half of it, or all")
    with closing(EmbeddedCellStore(tmp_path)) as store:
        opened(store, "tenant_a").close()
        assert not unfinished.exists()
        assert not unnamed.exists()
        assert (folder / named.file_name).exists()
        unfinished.write_bytes(b"being written by this process")
        opened(store, "tenant_a").close()
        assert unfinished.exists()


def tear_a_row(cell: Path) -> None:
    with closing(sqlite3.connect(cell / DATABASE_FILE, isolation_level=None)) as database:
        database.execute("UPDATE embeddings_queue SET metadata = replace(metadata, 'text', 'tent') WHERE id = '7'")


async def test_threat_27_a_torn_row_is_damage_though_a_snapshot_answers(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, TENANT, 300)
        async with world(store) as here, here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
        assert list((tmp_path / TENANT).glob("*.rows"))
    tear_a_row(tmp_path / TENANT)
    with closing(EmbeddedCellStore(tmp_path)) as store:
        async with world(store) as here:
            async with here.cells.lease(TENANT) as cell:
                reader = await (await collection_of(cell)).reader_after_load()
                assert await reader.count(eyes(permit())) == 300
            await until(lambda: TENANT in here.cells.damaged)
            with pytest.raises(StoreDamaged):
                async with here.cells.lease(TENANT):
                    pass


@pytest.mark.parametrize("is_torn", [False, True])
async def test_threat_27_nothing_is_acknowledged_into_a_cell_whose_rows_were_not_all_looked_at(
    tmp_path: Path, *, is_torn: bool
) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, TENANT, 300)
        async with world(store) as here, here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            collection.start_loading()
            await collection.loaded()
    if is_torn:
        tear_a_row(tmp_path / TENANT)
    file = tmp_path / TENANT / DATABASE_FILE
    file.write_bytes(file.read_bytes())  # somebody was there
    with closing(EmbeddedCellStore(tmp_path)) as store:
        async with world(store) as here:
            try:
                await add(here, TENANT, [document("new", np.ones(INFO.dimensions, np.float32))])
            except RetrievalUnavailable as error:
                assert is_torn, error
            else:
                assert not is_torn
    with closing(sqlite3.connect(file)) as database:
        (found,) = database.execute("SELECT count(*) FROM embeddings_queue WHERE id = 'new'").fetchone()
    assert found == (0 if is_torn else 1)


async def test_rows_that_were_looked_at_are_not_again_by_the_next_process(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, TENANT, 300)
        with closing(opened(store, TENANT)) as cell:
            assert cell.log.is_looked_through, "they are ours"
    file = tmp_path / TENANT / DATABASE_FILE
    file.write_bytes(file.read_bytes())  # nothing else, but who knows
    for is_looked_through in (False, True):
        with closing(EmbeddedCellStore(tmp_path)) as store, closing(opened(store, TENANT)) as cell:
            assert cell.log.is_looked_through is is_looked_through
            position: int | None = 0
            while position is not None:
                position = cell.log.look_through(after=position, count=100)
            assert cell.log.is_looked_through


def test_a_torn_row_that_was_replaced_harms_nobody(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, TENANT, 300)
        tear_a_row(tmp_path / TENANT)
        fill(store, TENANT, 300)
        with closing(opened(store, TENANT)) as cell:
            assert cell.log.look_through(after=0, count=1_000) is not None


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_write_that_may_not_last_is_to_be_tried_again(tmp_path: Path, number: int) -> None:
    """Neither damage nor a refusal: it is in the log, and who writes it again changes nothing."""
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, TENANT, 10)
        with closing(opened(store, TENANT)) as cell:
            with (
                patch("vecsec_retrieval.stores.embedded.cell.sync_folder", side_effect=OSError(number, "no")),
                pytest.raises(RetrievalUnavailable, match="will last; try again") as raised,
            ):
                cell.delete("documents", ["3"])
            assert not isinstance(raised.value, StoreDamaged)
            cell.delete("documents", ["3"])
            assert len(cell.find_ids("documents", RowCondition())) == 9


async def test_a_look_that_ends_otherwise_lets_nobody_write(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        fill(store, TENANT, 300)
    file = tmp_path / TENANT / DATABASE_FILE
    file.write_bytes(file.read_bytes())  # somebody was there
    new = document("new", np.ones(INFO.dimensions, np.float32))
    with closing(EmbeddedCellStore(tmp_path)) as store:
        async with world(store) as here:
            with (
                patch.object(EmbeddedChangeLog, "look_through", side_effect=MemoryError),
                pytest.raises(RetrievalUnavailable, match="read anew"),
            ):
                await add(here, TENANT, [new])
            await add(here, TENANT, [new])
