"""The embedded vector store: each tenant's cell on its own. Of a ChromaDB server the services tell: see `start`."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.local.state_directory import StateDirectory

_DATABASE = "chroma.sqlite3"
_WAIT_SECONDS = 5.0


def check_store(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """Read each cell's database through, so that a damaged one is named."""
    if settings.get("CHROMA_CONNECTION_STRING"):
        return
    folder = Path(settings.get("CHROMA_PATH") or state.chroma)
    if not folder.is_dir():
        yield warn("store", f"{folder} is not there, or is no folder", "`vecsec up` makes it")
        return
    cells = cells_in(folder)
    problems = [finding for cell in cells if (finding := _cell(cell)) is not None]
    yield from problems
    yield ok("store", f"{folder}: {len(cells) - len(problems)} of {len(cells)} cells can be read")


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
