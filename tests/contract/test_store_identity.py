"""An embedded store knows itself: what is missing, foreign or newer is refused, what is legitimate goes on working."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from vecsec_chassis.domain.errors import ConfigurationError, RetrievalUnavailable, StoreDamaged
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_chassis.process.file_systems import file_system_of
from vecsec_retrieval.model.rows import CollectionInfo, Document
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.repair import unlist
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.folder import store_folder, store_identity
from vecsec_retrieval.stores.folder.store_identity import IDENTITY_FILE
from vecsec_retrieval.visibility.tagging import to_stored

ROWS = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with cells of two tenants."""
    return made(tmp_path / "chroma", "tenant_a", "tenant_b")


def made(path: Path, *tenant_ids: str) -> Path:
    with closing(EmbeddedCellStore(path)) as store:
        for tenant_id in tenant_ids:
            fill(store, tenant_id)
    return path


def fill(store: EmbeddedCellStore, tenant_id: str) -> None:
    label = Label(tenant_id, Sensitivity.PUBLIC, frozenset({"a"}))
    vectors = np.random.default_rng(1).standard_normal((ROWS, 4)).astype(np.float32)
    with closing(opened(store, tenant_id)) as cell:
        cell.create_collection(CollectionInfo("documents", "external", 4))
        cell.upsert("documents", [to_stored(Document(str(n), "t", label, {}, v)) for n, v in enumerate(vectors)])


def opened(store: EmbeddedCellStore, tenant_id: str, *, create: bool = True) -> EmbeddedCell:
    cell = store.open(tenant_id, create=create)
    assert cell is not None
    return cell


def again(path: Path) -> EmbeddedCellStore:
    """The store after a restart, as a service without leave to begin one has it."""
    return EmbeddedCellStore(path, may_be_new=False)


def is_whole(path: Path, *tenant_ids: str) -> bool:
    with closing(again(path)) as store:
        for tenant_id in tenant_ids:
            with closing(opened(store, tenant_id, create=False)) as cell:
                assert len(cell.find_ids("documents", RowCondition())) == ROWS
    return set(tenant_ids) <= set(identity_of(path)["cells"])


def identity_of(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((path / IDENTITY_FILE).read_text())
    return found


def refusal(path: Path, *, may_be_new: bool = False) -> str:
    """The one line with which the start ends; nothing is changed by it."""
    before = sorted(path.rglob("*"))
    with pytest.raises(ConfigurationError, match="CHROMA_PATH") as raised:
        EmbeddedCellStore(path, may_be_new=may_be_new)
    assert sorted(path.rglob("*")) == before
    line = str(raised.value)
    assert "\n" not in line
    assert "; " in line
    return line


def without_identity(path: Path) -> None:
    """As VecSec left it before stores had an identity."""
    (path / IDENTITY_FILE).unlink()
    for database in path.glob(f"*/{DATABASE_FILE}"):
        execute(database, "DELETE FROM vecsec_cell WHERE key = 'store_id'")


def execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(statement)


def test_a_store_goes_on(path: Path) -> None:
    before = identity_of(path)
    assert is_whole(path, "tenant_a", "tenant_b")
    assert identity_of(path) == before
    assert before["cells"] == ["tenant_a", "tenant_b"]


@pytest.mark.parametrize("is_there", [True, False])
def test_where_no_store_is_none_begins_unless_it_may(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "chroma"
    if is_there:
        (path / "lost+found").mkdir(parents=True)
    line = refusal(path)
    assert "holds no store; if there was one, mount it" in line
    assert "set VECSEC_NEW_STORE_UNTIL" in line
    assert path.exists() == is_there
    made(path, "tenant_a")
    assert is_whole(path, "tenant_a")


def test_a_folder_that_was_a_store_and_lost_everything_but_its_lock_is_none(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name != ".lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert "holds no store" in refusal(path)


@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_cell_that_is_gone_is_an_error_of_its_tenant_alone(path: Path, is_emptied: bool) -> None:
    shutil.copytree(path / "tenant_a", path.parent / "backup")
    shutil.rmtree(path / "tenant_a")
    if is_emptied:
        (path / "tenant_a").mkdir()
    with capture_logs() as told, closing(again(path)) as store:
        gone = [each["tenant_ids"] for each in told if each["event"] == "cells are gone"]
        assert gone == ([] if is_emptied else [["tenant_a"]])
        for create in (False, True):
            with pytest.raises(StoreDamaged, match=r"'tenant_a' is gone.*put its directory back") as raised:
                store.open("tenant_a", create=create)
            assert "on the list of cells" in str(raised.value.detail)
        with closing(opened(store, "tenant_b", create=False)) as cell:
            assert len(cell.find_ids("documents", RowCondition())) == ROWS
        assert store.open("tenant_c", create=False) is None
        fill(store, "tenant_c")
    shutil.copytree(path.parent / "backup", path / "tenant_a", dirs_exist_ok=True)
    assert is_whole(path, "tenant_a", "tenant_b", "tenant_c")


def test_a_cell_that_is_taken_off_the_list_may_begin_anew(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path / "tenant_a").rename(path.parent / "aside")
    assert unlist.main([str(path), "tenant_a"]) == 0
    assert unlist.main([str(path), "tenant_a"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in told] == [{"was_listed": True}, {"was_listed": False}]
    with closing(again(path)) as store:
        assert store.open("tenant_a", create=False) is None
    (path.parent / "aside").rename(path / "tenant_a")
    assert is_whole(path, "tenant_a", "tenant_b"), "one that is put back is listed again"


def test_another_stores_cell_is_refused(path: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", "tenant_a", "tenant_c")
    shutil.rmtree(path / "tenant_a")
    for tenant_id in ("tenant_a", "tenant_c"):
        shutil.copytree(other / tenant_id, path / tenant_id)
    with closing(again(path)) as store:
        for tenant_id in ("tenant_a", "tenant_c"):
            with pytest.raises(StoreDamaged, match=f"{tenant_id!r} is a cell of another store; nothing was deleted"):
                store.open(tenant_id, create=False)
        with closing(opened(store, "tenant_b", create=False)):
            """It is unmoved."""
    assert identity_of(path)["cells"] == ["tenant_a", "tenant_b"]


def test_a_store_that_is_copied_as_a_whole_is_whole(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "copy")
    assert is_whole(tmp_path / "copy", "tenant_a", "tenant_b")


@pytest.mark.parametrize("keeps_lock", [True, False])
def test_a_store_without_identity_is_taken_over(path: Path, keeps_lock: bool) -> None:
    without_identity(path)
    if not keeps_lock:
        (path / ".lock").unlink()
    assert is_whole(path, "tenant_a", "tenant_b")
    shutil.rmtree(path / "tenant_b")
    with closing(again(path)) as store, pytest.raises(StoreDamaged, match="is gone"):
        store.open("tenant_b", create=True)


def test_a_cell_from_before_there_were_identities_may_be_put_back(path: Path) -> None:
    shutil.copytree(path / "tenant_a", path.parent / "backup")
    execute(path.parent / "backup" / DATABASE_FILE, "DELETE FROM vecsec_cell WHERE key = 'store_id'")
    shutil.rmtree(path / "tenant_a")
    shutil.copytree(path.parent / "backup", path / "tenant_a")
    assert is_whole(path, "tenant_a")


def test_a_list_that_is_gone_is_not_made_up(path: Path) -> None:
    before = identity_of(path)
    (path / IDENTITY_FILE).unlink()
    shutil.rmtree(path / "tenant_b")
    line = refusal(path)
    assert f"({IDENTITY_FILE}) is gone; put it back" in line
    assert "no cell is missing beside the 1 that are there" in line
    EmbeddedCellStore(path, may_be_new=True).close()
    assert identity_of(path) == before | {"cells": ["tenant_a"]}


def test_cells_of_several_stores_make_none(path: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", "tenant_c")
    shutil.copytree(other / "tenant_c", path / "tenant_c")
    (path / IDENTITY_FILE).unlink()
    assert "holds cells of 2 stores" in refusal(path, may_be_new=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "store_id": "x", "cells": 3}'])
def test_a_damaged_identity_ends_the_start(path: Path, content: str) -> None:
    (path / IDENTITY_FILE).write_text(content)
    assert "is damaged; put it back from a backup" in refusal(path, may_be_new=True)


def test_what_a_newer_version_wrote_is_refused(path: Path) -> None:
    execute(path / "tenant_a" / DATABASE_FILE, "UPDATE vecsec_cell SET value = 3 WHERE key = 'format'")
    with closing(again(path)) as store:
        with pytest.raises(RetrievalUnavailable, match="'tenant_a' was written by a newer version") as raised:
            store.open("tenant_a", create=True)
        assert raised.value.retry_after is None
        with closing(opened(store, "tenant_b", create=False)):
            """It is unmoved."""
    (path / IDENTITY_FILE).write_text(json.dumps(identity_of(path) | {"format": 2}))
    assert "newer version of VecSec (format 2, known is 1); start that one" in refusal(path)


class Killed(BaseException):
    """The process ends here."""


def killed(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (store_identity, "write_identity"),
        (EmbeddedCellStore, "_record_of_format"),
        (EmbeddedCellStore, "_prepare"),
        (EmbeddedCellStore, "_take_in"),
    ],
)
def test_a_crash_between_making_a_cell_and_listing_it_heals(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    with closing(again(path)) as store, monkeypatch.context() as patched:
        patched.setattr(where, name, killed)
        with pytest.raises(Killed):
            store.open("tenant_c", create=True)
    assert identity_of(path)["cells"] == ["tenant_a", "tenant_b"]
    with closing(again(path)) as store, closing(opened(store, "tenant_c", create=False)) as cell:
        assert cell.collections() == []
    assert identity_of(path)["cells"] == ["tenant_a", "tenant_b", "tenant_c"]


def test_a_list_that_cannot_be_written_is_no_cell_that_may_be_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with closing(again(path)) as store:
        with monkeypatch.context() as patched:
            patched.setattr(store_identity, "write_identity", full)
            with pytest.raises(Exception, match="no room left"):
                store.open("tenant_c", create=True)
        fill(store, "tenant_c")
    assert is_whole(path, "tenant_c")


def test_a_store_that_is_not_mounted_any_more_is_down_and_takes_no_new_cell(path: Path) -> None:
    with closing(again(path)) as store:
        path.rename(path.parent / "elsewhere")
        path.mkdir()
        for attempt in (store.heartbeat, lambda: store.open("tenant_a", create=True)):
            with pytest.raises(RetrievalUnavailable) as raised:
                attempt()
            assert str(path) in str(raised.value.detail)
        assert list(path.iterdir()) == []
        (path / ".lock").touch()
        with pytest.raises(RetrievalUnavailable) as raised:
            store.open("tenant_c", create=True)
        assert "another folder than when the service started; mount the store again" in str(raised.value.detail)
        shutil.rmtree(path)
        (path.parent / "elsewhere").rename(path)
        store.heartbeat()


def home(path: Path) -> None:
    for name in ("Documents", "bin", "photos", "x"):
        (path / name).mkdir(parents=True)


def databases(path: Path) -> None:
    path.mkdir()
    (path / DATABASE_FILE).write_bytes(b"SQLite format 3\0")


def cell_beside(path: Path) -> None:
    made(path, "tenant_a")
    without_identity(path)
    (path / ".lock").unlink()
    (path / "passwd").write_text("")


@pytest.mark.parametrize(
    ("fill_with", "named"),
    [(home, "(Documents, bin, photos and 1 more)"), (databases, f"({DATABASE_FILE})"), (cell_beside, "(passwd)")],
)
def test_a_folder_that_is_something_elses_is_no_store(
    tmp_path: Path, fill_with: Callable[[Path], None], named: str
) -> None:
    fill_with(tmp_path / "chroma")
    line = refusal(tmp_path / "chroma", may_be_new=True)
    assert f"holds other things {named}; name a folder of its own" in line


def test_what_lies_beside_the_cells_of_a_store_is_no_reason_to_refuse_it(path: Path) -> None:
    (path / ".core.4711").write_text("")
    (path / "notes").mkdir()
    assert is_whole(path, "tenant_a")


def test_a_store_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65532)
    owner = path.stat().st_uid
    line = refusal(path)
    assert f"(uid {owner})" in line
    assert "this service runs as uid 65532; run it as that user, or give all of it to this one (chown -R)" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_store_that_is_mounted_read_only_is_read_and_a_folder_without_one_is_refused(path: Path) -> None:
    empty = path.with_name("empty")
    empty.mkdir()
    for folder in (path, empty):
        for arguments in (("--bind", folder, folder), ("-o", "remount,ro,bind", folder)):
            subprocess.run(["mount", *arguments], check=True)
    try:
        assert "(Read-only file system); remount its file system for writing" in refusal(empty)
        assert is_whole(path, "tenant_a")
    finally:
        for folder in (path, empty):
            subprocess.run(["umount", folder], check=True)
    assert is_whole(path, "tenant_a")


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/data rw,relatime shared:1 - nfs4 server:/export rw
31 22 0:41 / /mnt/with\\040space rw - cifs //server/share rw
32 22 0:42 / /mnt/over rw - fuse.sshfs somebody@server:/ rw
33 22 0:43 / /mnt/data/local rw - xfs /dev/vdb rw
34 22 0:44 / /mnt/twice rw - nfs server:/x rw
35 22 0:45 / /mnt/twice rw - ext4 /dev/vdc rw
36 22 0:46 / /mnt/host rw - 9p drvfs rw
37 22 0:47 / /mnt/disk rw - fuse.ntfs-3g /dev/vdd rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/srv/chroma", "ext4", False),
        ("/mnt/data/chroma", "nfs4", True),
        ("/mnt/database", "ext4", False),
        ("/mnt/with space/chroma", "cifs", True),
        ("/mnt/over", "fuse.sshfs", True),
        ("/mnt/data/local/chroma", "xfs", False),
        ("/mnt/twice", "ext4", False),
        ("/mnt/host/c", "9p", False),
        ("/mnt/disk/chroma", "fuse.ntfs-3g", False),
    ],
)
def test_a_network_file_system_is_no_place_for_a_store(
    path: str, kind: str, is_network: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr("vecsec_chassis.process.file_systems._MOUNTS", mounts)
    assert file_system_of(Path(path), MOUNTS) == kind
    with pytest.raises(ConfigurationError) as raised:
        store_folder.demand_store(Path(path), may_be_new=False)
    assert ("network file system" in str(raised.value)) == is_network
