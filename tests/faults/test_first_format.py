"""Cells of VecSec 0.1, whose embeddings are in ChromaDB's index files, are taken over whole or not at all."""

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from faults.children import child
from faults.comparing import ROWS_A_CALL, differences
from faults.conftest import Note
from faults.examiner import DAMAGED, OTHER, prepare, state_of
from faults.extent import MANY
from faults.plan import State
from faults.writer import opened
from support.waiting import wait_until

from vecsec_chassis.domain.errors import StoreDamaged
from vecsec_retrieval.model.rows import StoredRow, Vector
from vecsec_retrieval.stores.embedded.cell import EmbeddedCell
from vecsec_retrieval.stores.embedded.record import DATABASE_FILE
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED, OPERATIONS = 11, 26
FRACTION = "m.fraction"
TAKE_OVER = "vecsec_retrieval.stores.embedded.take_over"


@pytest.fixture(scope="module")
def state() -> State:
    return state_of(DAMAGED, SEED, OPERATIONS)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, state: State) -> Path:
    """A store with a cell of version 0.1, of which much is in files alone, and nothing else."""
    folder = tmp_path_factory.mktemp("first")
    with child("faults.first_format", folder / "chroma", SEED, OPERATIONS, folder=folder / "made") as making:
        assert making.wait() == 0, making.told()
    cell = folder / "chroma" / DAMAGED
    with closing(sqlite3.connect(cell / DATABASE_FILE)) as database:
        [in_log] = database.execute("SELECT count(*) FROM embeddings_queue").fetchone()
    rows = sum(map(len, state.values()))
    assert rows > 3_000
    assert in_log < rows - 2_000, "the log was purged"
    assert list(cell.glob("*/data_level0.bin"))
    return folder / "chroma"


@pytest.fixture
def path(first: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first, tmp_path / "chroma")


def look(path: Path, state: State) -> None:
    with closing(EmbeddedCellStore(path)) as store, closing(opened(store, DAMAGED)) as cell:
        assert not list(islice(differences(cell, as_kept(cell, state)), 3))


def as_kept(cell: EmbeddedCell, state: State) -> State:
    """Version 0.1 had lost bits: its index kept vectors of length one, and ChromaDB's tables keep fractions that are
    off by one last place. What is purged from the log can come back no better."""
    kept = {}
    for collection_id, rows in state.items():
        found: list[StoredRow] = []
        for start in range(0, len(rows), ROWS_A_CALL):
            found += cell.get(collection_id, list(rows)[start : start + ROWS_A_CALL], with_embeddings=True)
        came = {row.document_id: row for row in found}
        kept[collection_id] = {name: with_bits_of(came[name], row) for name, row in rows.items()}
    return kept


def with_bits_of(came: StoredRow, row: StoredRow) -> StoredRow:
    came_fraction, fraction = came.metadata[FRACTION], row.metadata[FRACTION]
    assert isinstance(came_fraction, float)
    assert isinstance(fraction, float)
    assert abs(came_fraction - fraction) <= 2 * math.ulp(fraction)
    metadata = {**row.metadata, FRACTION: came_fraction}
    return replace(row, metadata=metadata, embedding=same(row, came.embedding))


def same(row: StoredRow, vector: Vector | None) -> Vector:
    assert row.embedding is not None
    assert vector is not None
    assert np.allclose(vector / np.linalg.norm(vector), row.embedding / np.linalg.norm(row.embedding), atol=1e-6)
    return vector


def test_all_rows_come_back_as_they_were(path: Path, state: State, note: Note) -> None:
    for _ in range(2):
        look(path, state)
    note("version 0.1", "taken over", f"{sum(map(len, state.values()))} rows, their vectors as directions")


@pytest.mark.parametrize("pages", [0, 1, 3])
def test_a_take_over_that_was_stopped_goes_on(path: Path, state: State, note: Note, tmp_path: Path, pages: int) -> None:
    with closing(sqlite3.connect(path / DAMAGED / DATABASE_FILE)) as database:
        database.execute(
            "UPDATE embeddings_queue_config SET config_json_str = replace(config_json_str, 'true', 'false')"
        )
        database.commit()
    with child(TAKE_OVER, path / DAMAGED, folder=tmp_path / "moving") as moving:
        while len(moving.told().splitlines()) - 1 < pages:
            assert moving.process.poll() is None, moving.told()
        moving.kill()
    look(path, state)
    note("version 0.1", f"killed after {pages} pages", "all rows")


OPEN = """
import sys
from pathlib import Path
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
EmbeddedCellStore(Path(sys.argv[1])).open(sys.argv[2], create=False)
"""


@pytest.mark.parametrize("lines", [1, 4])
def test_a_retrieval_that_is_killed_while_it_takes_over_leaves_the_cell_as_it_was(
    path: Path, state: State, note: Note, tmp_path: Path, lines: int
) -> None:
    """ChromaDB rewrites its index files in place meanwhile, and would tear those that hold what is not moved yet."""
    index_files = {file: file.read_bytes() for file in (path / DAMAGED).glob("*/*")}
    said = tmp_path / "said"
    with said.open("wb") as output:
        opening = subprocess.Popen([sys.executable, "-c", OPEN, str(path), DAMAGED], stdout=output, stderr=output)
        wait_until(lambda: said.read_bytes().count(b"taking over") >= lines or opening.poll() is not None)
        assert opening.poll() is None, said.read_text()
        opening.kill()
        opening.wait()
    assert {file: file.read_bytes() for file in (path / DAMAGED).glob("*/*")} == index_files
    look(path, state)
    assert list(path.glob(".taking-over-*")) == []
    note("version 0.1", f"retrieval killed after {lines} lines", "all rows")


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def remove(file: Path) -> None:
    file.unlink()


def fill_with_garbage(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


FILES = ("data_level0.bin", "header.bin", "index_metadata.pickle", "length.bin", "link_lists.bin")


@pytest.mark.parametrize("tear", [truncate, empty, remove, fill_with_garbage])
@pytest.mark.parametrize("name", FILES if MANY else FILES[::2])
def test_torn_index_files_are_an_error_of_that_tenant_alone(
    path: Path, state: State, note: Note, tear: Callable[[Path], None], name: str
) -> None:
    prepare(path, SEED, 3, tenant_ids=(OTHER,))
    tear(max(path.glob(f"{DAMAGED}/*/{name}"), key=lambda file: file.stat().st_size))
    with closing(EmbeddedCellStore(path)) as store:
        for _ in range(2):
            try:
                with closing(opened(store, DAMAGED)) as cell:
                    assert not list(islice(differences(cell, as_kept(cell, state)), 3))
                came = "all right"
            except StoreDamaged as error:
                came = f"damaged ({error.detail})"
        with closing(opened(store, OTHER)) as cell:
            assert not list(differences(cell, state_of(OTHER, SEED, 3)))
    note("version 0.1", f"{tear.__name__} {name}", came)
