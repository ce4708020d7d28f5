"""What only the embedded store promises: files, descriptors, damage, room, and the end of a process."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from chromadb.errors import InternalError
from support.waiting import wait_until

from vecsec_chassis.domain.errors import ConfigurationError, LimitExceeded, RetrievalUnavailable, StoreDamaged
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.model.rows import CollectionInfo, Document, StoredRow
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.stores import error_translation
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.checked_rows import TornRow
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.stores.folder import disk
from vecsec_retrieval.visibility.tagging import label_key, to_stored

INFO = CollectionInfo("documents", "external", 16)
MORE_THAN_A_BATCH = 1_200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chroma"


@pytest.fixture
def store(path: Path) -> Iterator[EmbeddedCellStore]:
    with closing(EmbeddedCellStore(path)) as opened:
        yield opened


def fill(store: EmbeddedCellStore, tenant_id: str, rows: int = 3) -> None:
    cell = opened(store, tenant_id)
    with closing(cell):
        cell.create_collection(INFO)
        vectors = np.random.default_rng(1).standard_normal((rows, INFO.dimensions)).astype(np.float32)
        label = Label(tenant_id, Sensitivity.PUBLIC, frozenset({"a"}))
        documents = [Document(str(number), "text", label, {}, vector) for number, vector in enumerate(vectors)]
        for start in range(0, rows, 1_000):
            cell.upsert("documents", [to_stored(document) for document in documents[start : start + 1_000]])


def opened(store: EmbeddedCellStore, tenant_id: str) -> EmbeddedCell:
    cell = store.open(tenant_id, create=True)
    assert cell is not None
    return cell


def files_open_below(path: Path) -> list[str]:
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(f"{path}/"):
            found.append(target)
    return found


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_reading_makes_no_directory(store: EmbeddedCellStore, path: Path) -> None:
    assert store.open("tenant_a", create=False) is None
    assert not (path / "tenant_a").exists()


def test_a_cell_is_a_directory_for_its_owner_alone(store: EmbeddedCellStore, path: Path) -> None:
    fill(store, "tenant_a")
    assert stat.S_IMODE((path / "tenant_a").stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert (path / "tenant_a" / DATABASE_FILE).is_file()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_closing_a_cell_lets_go_of_files_and_threads(store: EmbeddedCellStore, path: Path) -> None:
    fill(store, "warm_up", MORE_THAN_A_BATCH)
    fill(store, "tenant_a", MORE_THAN_A_BATCH)
    threads_before = threads()
    cell = opened(store, "tenant_a")
    assert cell.nearest("documents", np.ones(INFO.dimensions, dtype=np.float32), 5, RowCondition())
    assert files_open_below(path / "tenant_a")
    cell.close()
    # Chroma's runtime lets go in threads of its own, which end a moment after the close.
    wait_until(lambda: not files_open_below(path / "tenant_a") and threads() <= threads_before)


def test_opening_and_closing_again_and_again_leaks_nothing(store: EmbeddedCellStore, path: Path) -> None:
    fill(store, "tenant_a")
    counts = []
    for _ in range(5):
        cell = opened(store, "tenant_a")
        assert cell.find_collection("documents") == INFO
        cell.close()
        wait_until(lambda: not files_open_below(path / "tenant_a"))
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] <= counts[0]


def test_acknowledged_writes_survive_kill_9(path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import numpy as np
        from vecsec_chassis.domain.labels import Label, Sensitivity
        from vecsec_retrieval.model.rows import CollectionInfo, Document
        from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
        from vecsec_retrieval.visibility.tagging import to_stored

        cell = EmbeddedCellStore(Path(sys.argv[1])).open("tenant_a", create=True)
        cell.create_collection(CollectionInfo("documents", "external", 16))
        label = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"}))
        for batch in range(1_000):
            documents = [
                Document(f"{batch}-{n}", "text", label, {}, np.full(16, n + 1, dtype=np.float32)) for n in range(100)
            ]
            cell.upsert("documents", [to_stored(document) for document in documents])
            print(batch, flush=True)
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(12)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split()]
    with closing(EmbeddedCellStore(path)) as store, closing(opened(store, "tenant_a")) as cell:
        ids = set(cell.find_ids("documents", RowCondition()))
        assert {f"{batch}-{n}" for batch in acknowledged for n in range(100)} <= ids
        rows = cell.get("documents", sorted(ids)[:1_000], with_embeddings=True)
        assert all(row.embedding is not None for row in rows)
        per_batch = {batch: sum(1 for each in ids if each.startswith(f"{batch}-")) for batch in range(40)}
        assert set(per_batch.values()) <= {0, 100}, "a batch is stored whole or not at all"


def test_rows_that_are_deleted_meanwhile_are_no_damage(store: EmbeddedCellStore) -> None:
    """Chroma looks up ids first and vectors then, and fails where one of them is gone by then."""
    fill(store, "tenant_a", 2_000)
    with closing(opened(store, "tenant_a")) as cell, ThreadPoolExecutor(1) as pool:
        ids = cell.find_ids("documents", RowCondition())
        kept, doomed = ids[:200], ids[200:]
        label_keys = frozenset({label_key(Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"})))})

        def delete_one_by_one() -> None:
            for document_id in doomed[:400]:
                cell.delete("documents", [document_id])

        deleting = pool.submit(delete_one_by_one)
        while not deleting.done():
            assert set(kept) <= {row.document_id for row in cell.log.rows_at(cell.log.living("documents").tolist())}
            found = cell.get("documents", [*kept, *doomed[:800]], with_embeddings=True)
            assert {row.document_id for row in found} >= set(kept)
            assert all(row.embedding is not None for row in found)
            cell.nearest("documents", np.ones(16, dtype=np.float32), 10, RowCondition(label_keys=label_keys))
        deleting.result()
        assert len(cell.find_ids("documents", RowCondition())) == 1_600


def changed(cell: Path, change: str) -> None:
    """The log of a cell, with something in its second entry as damage would leave it."""
    with closing(sqlite3.connect(cell / DATABASE_FILE, isolation_level=None)) as database:
        database.execute(f"UPDATE embeddings_queue SET {change} WHERE id = '1'")


@pytest.mark.parametrize(
    "change",
    [
        "vector = zeroblob(64)",
        "vector = substr(vector, 1, 63)",
        "metadata = replace(metadata, 'text', 'tent')",
        "metadata = replace(metadata, 'tenant_a', 'tenant_b')",
        "metadata = substr(metadata, 1, 40)",
        "id = '7'",
        "encoding = 'INT32'",
    ],
)
def test_a_row_that_is_not_what_was_written_is_damage(store: EmbeddedCellStore, path: Path, change: str) -> None:
    fill(store, "tenant_a")
    changed(path / "tenant_a", change)
    with closing(opened(store, "tenant_a")) as cell, pytest.raises(StoreDamaged, match="nothing was deleted"):
        cell.log.changes("documents", after=0, limit=1_000)


def overwrite_database(cell: Path) -> None:
    (cell / DATABASE_FILE).write_bytes(b"garbage" * 10_000)


def truncate_database(cell: Path) -> None:
    os.truncate(cell / DATABASE_FILE, 20_000)


def empty_database(cell: Path) -> None:
    (cell / DATABASE_FILE).write_bytes(b"")


def remove_database(cell: Path) -> None:
    (cell / DATABASE_FILE).unlink()


def cut_a_page(cell: Path) -> None:
    """A leaf of the log's tree says that it holds nothing."""
    database = cell / DATABASE_FILE
    content = bytearray(database.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        [root] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'embeddings_queue'").fetchone()
    content[(root - 1) * 4096 + 3 : (root - 1) * 4096 + 5] = b"\0\0"
    database.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [overwrite_database, truncate_database, empty_database, remove_database, cut_a_page],
)
def test_a_damaged_cell_is_said_to_be_and_others_are_unmoved(store: EmbeddedCellStore, path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    for tenant_id in ("tenant_a", "tenant_b"):
        fill(store, tenant_id, MORE_THAN_A_BATCH)
    damage(path / "tenant_a")
    before = sorted((entry.relative_to(path), entry.stat().st_size) for entry in path.glob("tenant_a/**/*"))

    def read_everything() -> None:
        cell = store.open("tenant_a", create=False)
        assert cell is not None
        with closing(cell):
            ids = cell.find_ids("documents", RowCondition())
            assert len(ids) == MORE_THAN_A_BATCH
            cell.get("documents", ids[:1_000], with_embeddings=True)

    for _ in range(2):  # the second time no cache of a half-started client may be met
        with pytest.raises(StoreDamaged, match=r"'tenant_a' is damaged.*nothing was deleted"):
            read_everything()
    after = sorted((entry.relative_to(path), entry.stat().st_size) for entry in path.glob("tenant_a/**/*"))
    assert {name for name, _ in before} <= {name for name, _ in after}
    with closing(opened(store, "tenant_b")) as cell:
        assert len(cell.find_ids("documents", RowCondition())) == MORE_THAN_A_BATCH
    # Chroma's runtime lets go in threads of its own, which end a moment after the close.
    wait_until(lambda: not files_open_below(path / "tenant_a"))


def test_a_repaired_cell_is_read_again(store: EmbeddedCellStore, path: Path, tmp_path: Path) -> None:
    fill(store, "tenant_a")
    shutil.copytree(path / "tenant_a", tmp_path / "backup")
    overwrite_database(path / "tenant_a")
    with pytest.raises(StoreDamaged):
        store.open("tenant_a", create=False)
    shutil.rmtree(path / "tenant_a")
    shutil.copytree(tmp_path / "backup", path / "tenant_a")
    with closing(opened(store, "tenant_a")) as cell:
        assert len(cell.find_ids("documents", RowCondition())) == 3


def test_a_panic_of_the_store_is_damage() -> None:
    class PanicException(BaseException):
        """Looks like what the store's Rust core raises."""

    with (
        pytest.raises(StoreDamaged, match="damaged"),
        error_translation.embedded_errors("tenant_a", lambda: None),
    ):
        raise PanicException("index out of bounds")


def test_what_is_no_error_of_the_store_passes_its_door() -> None:
    for kind in (KeyboardInterrupt, TypeError):
        with pytest.raises(kind), error_translation.embedded_errors("tenant_a", lambda: None):
            raise kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error returned from database: (code: 13) database or disk is full", LimitExceeded),
        ("error returned from database: (code: 5) database is locked", RetrievalUnavailable),
        ("(code: 14) unable to open database file", RetrievalUnavailable),
        ("error returned from database: (code: 11) database disk image is malformed", StoreDamaged),
        ("error returned from database: (code: 1) too many SQL variables", LimitExceeded),
    ],
)
def test_what_chroma_says_becomes_a_typed_error(text: str, expected: type[Exception]) -> None:
    with pytest.raises(expected), error_translation.embedded_errors("tenant_a", lambda: None):
        raise OSError(text)


@pytest.mark.parametrize("kind", [sqlite3.DatabaseError, TornRow])
def test_damage_is_damage_on_a_full_disk_too(kind: type[Exception]) -> None:
    with pytest.raises(StoreDamaged), error_translation.embedded_errors("tenant_a", lambda: "full"):
        raise kind("database disk image is malformed")


@pytest.mark.parametrize(
    "said", ["(code: 13) database or disk is full", "(code: 8) attempt to write a readonly database"]
)
def test_a_server_whose_disk_is_full_can_still_be_read(said: str) -> None:
    with pytest.raises(LimitExceeded, match="no room left, or is read-only"), error_translation.remote_errors():
        raise InternalError(f"error returned from database: {said}")
    with pytest.raises(RetrievalUnavailable), error_translation.remote_errors():
        raise InternalError("error returned from database: (code: 5) database is locked")


def test_a_failure_with_a_full_disk_is_about_the_disk() -> None:
    with pytest.raises(LimitExceeded), error_translation.embedded_errors("tenant_a", lambda: "full"):
        raise OSError("Failed to apply logs to the metadata segment")


def test_a_write_that_leaves_too_little_room_is_refused_before_chroma_meets_it(
    store: EmbeddedCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, "tenant_a")
    with closing(opened(store, "tenant_a")) as cell:
        monkeypatch.setattr(disk, "ROOM_IN_RESERVE", 2**62)
        label = Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"}))
        row = to_stored(Document("new", "text", label, {}, np.ones(INFO.dimensions, dtype=np.float32)))
        with pytest.raises(LimitExceeded, match="no room left on the disk"):
            cell.upsert("documents", [row])
        with pytest.raises(LimitExceeded, match="no room left on the disk"):
            store.open("tenant_new", create=True)
        assert len(cell.find_ids("documents", RowCondition())) == 3


def test_a_path_that_cannot_be_written_to_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"CHROMA_PATH: .*cannot be written to") as raised:
        EmbeddedCellStore(tmp_path / "file" / "chroma")
    assert "\n" not in str(raised.value)


def test_a_path_is_for_one_process(store: EmbeddedCellStore, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="in use by another retrieval service"):
        EmbeddedCellStore(path)


def test_a_path_that_went_away_fails_the_heartbeat(store: EmbeddedCellStore, path: Path) -> None:
    store.heartbeat()
    shutil.rmtree(path)
    with pytest.raises(RetrievalUnavailable):
        store.heartbeat()


def test_a_collection_of_another_program_is_not_taken_over(store: EmbeddedCellStore, path: Path) -> None:
    from chromadb import PersistentClient

    (path / "tenant_a").mkdir()
    client = PersistentClient(str(path / "tenant_a"))
    client.create_collection("documents")
    client.close()
    with closing(opened(store, "tenant_a")) as cell:
        assert cell.collections() == []
        assert cell.find_collection("documents") is None
        with pytest.raises(StoreDamaged, match="another program"):
            cell.create_collection(INFO)


def test_looking_among_ids_of_which_one_is_gone_damages_nothing(tmp_path: Path) -> None:
    with closing(EmbeddedCellStore(tmp_path)) as store:
        cell = store.open("tenant_a", create=True)
        assert cell is not None
        with closing(cell):
            cell.create_collection(CollectionInfo("documents", "external", 2))
            rows = [StoredRow(f"d{number}", "text", {"key": 1}, np.ones(2, dtype=np.float32)) for number in range(3)]
            cell.upsert("documents", rows)

            def among(*ids: str) -> set[str]:
                found = cell.nearest("documents", np.ones(2, dtype=np.float32), 10, RowCondition(document_ids=ids))
                return {each.row.document_id for each in found}

            assert among("d0", "d2") == {"d0", "d2"}
            cell.delete("documents", ["d2"])
            assert among("d0", "d2") <= {"d0"}
            assert among("d0", "d1") == {"d0", "d1"}


def test_rows_that_stand_in_the_log_alone_are_found_by_label_and_metadata(store: EmbeddedCellStore, path: Path) -> None:
    """As all do: ChromaDB's tables hold none, also where they once did."""
    fill(store, "tenant_a")
    with closing(sqlite3.connect(path / "tenant_a" / DATABASE_FILE, isolation_level=None)) as database:
        assert database.execute("SELECT count(*) FROM embeddings").fetchone() == (0,)
        database.execute("INSERT INTO embeddings (segment_id, embedding_id, seq_id) SELECT id, '7', 1 FROM segments")
    keys = frozenset({label_key(Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"})))})
    with closing(opened(store, "tenant_a")) as cell:
        assert sorted(cell.find_ids("documents", RowCondition(keys))) == ["0", "1", "2"]
        assert len(cell.find_ids("documents", RowCondition(keys), 2)) == 2
        assert cell.find_ids("documents", RowCondition(frozenset({"0" * 32}))) == []
        cell.delete("documents", ["1"])
        assert sorted(cell.find_ids("documents", RowCondition(keys))) == ["0", "2"]
    with closing(sqlite3.connect(path / "tenant_a" / DATABASE_FILE)) as database:
        assert database.execute("SELECT count(*) FROM embeddings").fetchone() == (0,), "emptied by the first write"


def test_what_is_read_leaves_no_trace(store: EmbeddedCellStore, path: Path) -> None:
    fill(store, "tenant_a", MORE_THAN_A_BATCH)
    keys = frozenset({label_key(Label("tenant_a", Sensitivity.PUBLIC, frozenset({"a"})))})

    def state() -> dict[str, tuple[int, ...]]:
        files = [path, *path.rglob("*")]
        return {str(file): (file.stat().st_mtime_ns, file.stat().st_ctime_ns, file.stat().st_size) for file in files}

    before = state()
    with closing(opened(store, "tenant_a")) as cell:
        assert len(cell.find_ids("documents", RowCondition(keys))) == MORE_THAN_A_BATCH
        assert cell.nearest("documents", np.ones(INFO.dimensions, dtype=np.float32), 5, RowCondition(keys))
        assert cell.log.changes("documents", after=0, limit=10)
        assert cell.get("documents", ["1"], with_embeddings=True)
        assert cell.collections() == [INFO]
    assert state() == before
