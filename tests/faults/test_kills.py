"""`kill -9` at any moment of importing, replacing, deleting, of making a cell or collection, of opening a cell."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.children import Child, child
from faults.conftest import Note
from faults.extent import KILLS, KILLS_A_CELL
from faults.writer import ONCE

from vecsec_retrieval.stores.embedded.record import DATABASE_FILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TENANT = "tenant_a"
LONGEST_WATCH_SECONDS = 15.0
MANY_CHANGES = 60


def any_time(writer: Child, cell: Path, chance: random.Random) -> None:
    writer.wait_for("found")
    time.sleep(chance.uniform(0, 3))


def as_it_opens(writer: Child, cell: Path, chance: random.Random) -> None:
    writer.wait_for("ready")
    time.sleep(chance.uniform(0, 0.4))


def as_the_database_changes(writer: Child, cell: Path, chance: random.Random) -> None:
    writer.wait_for("found")
    watch(writer, lambda: status(cell / DATABASE_FILE), chance.randint(1, MANY_CHANGES))
    time.sleep(chance.uniform(0, 0.002))


def as_the_journal_changes(writer: Child, cell: Path, chance: random.Random) -> None:
    writer.wait_for("found")
    journal = cell / f"{DATABASE_FILE}-journal"
    watch(writer, lambda: status(journal), chance.randint(1, MANY_CHANGES))
    wait_for_writing = time.monotonic() + 1
    while not status(journal) and time.monotonic() < wait_for_writing:
        pass
    time.sleep(chance.uniform(0, 0.001))


def as_folders_change(writer: Child, cell: Path, chance: random.Random) -> None:
    writer.wait_for("ready")
    watch(writer, lambda: files_of_folders(cell), chance.randint(1, 6))


def as_snapshots_change(writer: Child, cell: Path, chance: random.Random) -> None:
    writer.wait_for("found")
    watch(writer, lambda: snapshots(cell), chance.randint(1, MANY_CHANGES))
    time.sleep(chance.uniform(0, 0.002))


MOMENTS = (
    as_snapshots_change,
    any_time,
    as_the_database_changes,
    as_the_journal_changes,
    as_folders_change,
    as_it_opens,
)


def watch(writer: Child, look: Callable[[], object], changes: int) -> None:
    """Until so many changes have been seen."""
    deadline = time.monotonic() + LONGEST_WATCH_SECONDS
    before = look()
    while changes and time.monotonic() < deadline and writer.process.poll() is None:
        now = look()
        changes -= now != before
        before = now


def files_of_folders(cell: Path) -> list[object]:
    try:
        return [(str(file), status(file)) for folder in cell.iterdir() if folder.is_dir() for file in folder.iterdir()]
    except FileNotFoundError:  # gone meanwhile
        return []


def snapshots(cell: Path) -> list[object]:
    return [(str(file), status(file)) for file in sorted(cell.glob("*rows*"))]


def status(file: Path) -> object:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("seed", range(KILLS // KILLS_A_CELL))
def test_nothing_acknowledged_is_lost_and_nothing_else_is_half_there(tmp_path: Path, note: Note, seed: int) -> None:
    chance = random.Random(seed)
    path, done, kinds = tmp_path / "chroma", 0, Counter[str]()

    def taken(writer: Child) -> int:
        assert not writer.lines("wrong"), writer.told()
        kinds.update(kind for _, _, kind in writer.lines("done"))
        return max([done, *(int(line[1]) for line in writer.lines("found") + writer.lines("done"))])

    for number in range(KILLS_A_CELL):
        # Every other cell is met first as it is being made.
        moment = MOMENTS[(number + 5 * (seed % 2)) % len(MOMENTS)]
        with child("faults.writer", path, TENANT, seed, done, folder=tmp_path / f"kill-{number}") as writer:
            moment(writer, path / TENANT, chance)
            assert writer.process.poll() is None, writer.told()
            writer.kill()
            before, done = done, taken(writer)
            note("kill", f"cell {seed}", moment.__name__.replace("_", " "), f"operations {before} to {done}")
    with child("faults.writer", path, TENANT, seed, done, ONCE, folder=tmp_path / "last") as writer:
        assert writer.wait() == 0, writer.told()
        done = taken(writer)
        assert len(writer.lines("found")) == 2, writer.told()
    note("kill", f"cell {seed}", "whole after all of them", dict(kinds))


@pytest.mark.parametrize("number", range(KILLS // 2))
def test_a_cell_that_was_being_made_is_made(tmp_path: Path, note: Note, number: int) -> None:
    chance = random.Random(number)
    path = tmp_path / "chroma"
    with child("faults.writer", path, TENANT, number, 0, folder=tmp_path / "killed") as writer:
        writer.wait_for("ready")
        watch(writer, lambda: any(path.glob("*tenant_a")), 1)
        time.sleep(chance.uniform(0, 0.08))
        writer.kill()
        done = max((int(line[1]) for line in writer.lines("found") + writer.lines("done")), default=0)
        files = sorted(each.name for each in path.glob("*tenant_a/*"))
        note("kill", f"cell {number} as it is made", f"beside {', '.join(files) or 'nothing'}")
    with child("faults.writer", path, TENANT, number, done, ONCE, folder=tmp_path / "last") as writer:
        assert writer.wait() == 0, writer.told()
