"""The embedded vector store: its disk, and each tenant's cell on its own. Of a ChromaDB server the services tell: see
`start`."""

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.checks.store_identity import (
    DATABASE_FILE,
    StoreIdentity,
    UnreadableIdentity,
    missing_cells,
    store_identity,
)
from vecsec_cli.local.service_settings import services_of
from vecsec_cli.local.shards import shard_count, shard_stores, with_shards
from vecsec_cli.local.state_directory import StateDirectory

_WAIT_SECONDS = 5.0
RESERVE_BYTES = 64 << 20
"""With less, retrieval stores nothing."""
COMFORTABLE_STORE_BYTES = 1 << 30
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_stores(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """See to the store, and to those of further shards of this machine."""
    yield from check_store(state, settings)
    if not settings.get("CHROMA_CONNECTION_STRING"):
        known = with_shards(services_of(settings), shard_count(state, settings, None), state, settings)
        for path in shard_stores(known):
            yield from check_store(state, {**settings, "CHROMA_PATH": str(path)})


def check_store(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """See whether there is room for writes, and read each cell's database through, so that a damaged one is named."""
    if settings.get("CHROMA_CONNECTION_STRING"):
        return
    folder = Path(settings.get("CHROMA_PATH") or state.chroma)
    if not folder.is_dir():
        yield warn("store", f"{folder} is not there, or is no folder", "`vecsec up` makes it")
        return
    yield _disk(folder)
    try:
        identity = store_identity(folder)
    except UnreadableIdentity as error:
        yield fail("store", str(error), "put the file back from a backup of this store")
        return
    missing = missing_cells(folder, identity)
    cells = [cell for cell in cells_in(folder) if cell.name not in missing]
    problems = [finding for cell in cells if (finding := _cell(cell, identity)) is not None]
    yield from problems
    yield from (_missing(folder / tenant) for tenant in missing)
    count = len(cells) + len(missing)
    yield ok(
        "store",
        f"{folder}: {count - len(problems) - len(missing)} of {count} cells can be read "
        f"({identity or 'without an id until retrieval starts'})",
    )


def _missing(cell: Path) -> CheckResult:
    return fail(
        f"cell {cell.name}",
        f"{cell} is gone, but on the store's list of cells",
        f"put it back from a backup; without one, `vecsec tenant repair --tenant {cell.name}` and import an export",
    )


def _disk(folder: Path) -> CheckResult:
    """Room for writes; who may write there is told by `start`."""
    name, remedy = "store's disk", "free some room; no restart is needed"
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):,.1f} GiB free at {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder):
            """A nameless file that could be made is a path that can be written to."""
    except OSError as error:
        if error.errno == errno.EROFS:
            return fail(name, f"{folder} is read-only: nothing can be stored, searches go on", "mount it for writing")
        if error.errno in _NO_ROOM:
            return fail(name, f"{detail}, {error.strerror}: nothing can be stored, searches go on", remedy)
    if free < RESERVE_BYTES:
        return fail(name, f"{detail}: nothing can be stored, searches go on", remedy)
    return (
        warn(name, detail, "free some room before the next import")
        if free < COMFORTABLE_STORE_BYTES
        else ok(name, detail)
    )


def _cell(cell: Path, identity: StoreIdentity | None) -> CheckResult | None:
    """What is wrong with a tenant's cell."""
    name = f"cell {cell.name}"
    database = cell / DATABASE_FILE
    if not database.exists():
        return warn(name, f"{database} does not exist", "an import into this tenant makes it; else remove the folder")
    problem = cell_problem(cell) or _other_store(database, identity)
    if problem is None:
        return None
    return fail(name, problem, f"`vecsec tenant repair --tenant {cell.name}`; other tenants are not affected")


def _other_store(database: Path, identity: StoreIdentity | None) -> str | None:
    """That a cell is of another store than the one it is in; None if it is of this one, or of none yet."""
    with _reading(database) as connection:
        try:
            found = connection.execute("SELECT value FROM vecsec_cell WHERE key = 'store_id'").fetchone()
        except sqlite3.OperationalError:
            return None  # of a time before there were marks
    if identity is None or found is None or found[0] == identity.store_id:
        return None
    return f"{database} is of another store ({found[0]})"


def cells_in(folder: Path) -> list[Path]:
    """The directories of all tenants below CHROMA_PATH."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def cell_problem(cell: Path) -> str | None:
    """What is wrong with a cell's database, read through; None if nothing."""
    database = cell / DATABASE_FILE
    try:
        with _reading(database) as connection:
            (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        problem = str(error)
    return None if problem == "ok" else f"{database}: {problem}"


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    location = f"file:{quote(str(database.absolute()))}?mode=ro"
    with closing(sqlite3.connect(location, uri=True, timeout=_WAIT_SECONDS)) as connection:
        yield connection
