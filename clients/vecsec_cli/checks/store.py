"""The embedded vector store: its disk, and each tenant's cell on its own. Of a ChromaDB server the services tell: see
`start`."""

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.local.state_directory import StateDirectory

_DATABASE = "chroma.sqlite3"
_WAIT_SECONDS = 5.0
_RESERVE_BYTES = 64 << 20
"""With less, retrieval stores nothing."""
_COMFORTABLE_BYTES = 1 << 30
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_store(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """See whether there is room for writes, and read each cell's database through, so that a damaged one is named."""
    if settings.get("CHROMA_CONNECTION_STRING"):
        return
    folder = Path(settings.get("CHROMA_PATH") or state.chroma)
    if not folder.is_dir():
        yield warn("store", f"{folder} is not there, or is no folder", "`vecsec up` makes it")
        return
    yield _disk(folder)
    cells = cells_in(folder)
    problems = [finding for cell in cells if (finding := _cell(cell)) is not None]
    yield from problems
    yield ok("store", f"{folder}: {len(cells) - len(problems)} of {len(cells)} cells can be read")


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
    if free < _RESERVE_BYTES:
        return fail(name, f"{detail}: nothing can be stored, searches go on", remedy)
    return (
        warn(name, detail, "free some room before the next import") if free < _COMFORTABLE_BYTES else ok(name, detail)
    )


def _cell(cell: Path) -> CheckResult | None:
    """What is wrong with a tenant's cell."""
    name = f"cell {cell.name}"
    database = cell / _DATABASE
    if not database.exists():
        return warn(name, f"{database} does not exist", "an import into this tenant makes it; else remove the folder")
    problem = cell_problem(cell)
    if problem is None:
        return None
    return fail(name, problem, f"`vecsec tenant repair --tenant {cell.name}`; other tenants are not affected")


def cells_in(folder: Path) -> list[Path]:
    """The directories of all tenants below CHROMA_PATH."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def cell_problem(cell: Path) -> str | None:
    """What is wrong with a cell's database, read through; None if nothing."""
    database = cell / _DATABASE
    location = f"file:{quote(str(database.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(location, uri=True, timeout=_WAIT_SECONDS)) as connection:
            (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        problem = str(error)
    return None if problem == "ok" else f"{database}: {problem}"
