"""`vecsec tenant verify` and `vecsec tenant repair`: cells of the embedded store, looked at on the disk.

Nothing is deleted: a cell that is repaired is put aside as it is, and what can be read of it becomes an archive.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.checks.store import cells_in
from vecsec_cli.checks.store_identity import UnreadableIdentity, missing_cells, store_identity
from vecsec_cli.local.retrieval_module import ModuleFailed, output_of
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.options import JsonOption, StateDirectoryOption, TenantOption, state_directory
from vecsec_cli.tenants.archive import Archive
from vecsec_cli.tenants.archive_check import check_archive
from vecsec_cli.tenants.archive_writing import ArchiveWriter, writing_archive
from vecsec_cli.tenants.exporting import report
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure

ASIDE = ".aside"
"""Below CHROMA_PATH; no tenant can be called so."""
_LOCK = ".lock"
"""Held by the retrieval service while it runs."""


def verify(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's cell.")] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Check this archive instead, as an import would.", show_default=False)
    ] = None,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Read the cells through, row by row, also while the services run. Exit code 9 if one is damaged.

    What the retrieval service itself meets it tells by metric vecsec_damaged_cells and log line "cell is damaged".
    """
    if archive is not None:
        _verify_archive(archive, tenant, as_json=json)
        return
    path = _chroma_path(state_dir)
    missing = _missing_cells(path)
    cells = [path / tenant] if tenant else sorted({*cells_in(path), *(path / name for name in missing)})
    problems = _problems([cell for cell in cells if cell.name not in missing])
    problems |= {cell.name: f"{cell} is gone" for cell in cells if cell.name in missing}
    if json:
        output.print_json({"checked": [cell.name for cell in cells], "problems": problems})
    for name, problem in {} if json else problems.items():
        output.say(f"{name}: {problem}")
    if problems:
        raise typer.Exit(ExitCode.DAMAGED)
    if not json:
        output.say(f"{path}: {len(cells)} cells can be read")


def repair(tenant: TenantOption, state_dir: StateDirectoryOption = None, json: JsonOption = False) -> None:
    """Put a damaged cell aside, and write what can be read of it to an archive beside it. Nothing is deleted.

    The retrieval service must be stopped. Then start it and run `vecsec tenant import` with the archive, or with an
    export made before. Rows keep their embeddings, but for cells of version 0.1: their texts are embedded anew.
    """
    path = _chroma_path(state_dir)
    cell = path / tenant
    with _exclusively(path):
        if cell not in cells_in(path):
            raise _forgotten(path, tenant)
        aside = path / ASIDE / f"{tenant}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        cell.rename(aside)
        _unlist(path, tenant)
    output.note(f"put aside as it was: {aside}")
    with writing_archive(aside.with_name(f"{aside.name}.readable"), tenant) as writer:
        archive, lost = _salvage(aside, tenant, writer)
    report(archive, json, "could read")
    if lost:
        output.note(f"{lost:,} rows could not be read; an export made before may have them")
    output.note(f"next: start the retrieval service, then vecsec tenant import {archive.folder} --tenant {tenant}")


def _verify_archive(folder: Path, tenant: str | None, *, as_json: bool) -> None:
    """Raises CommandFailure if the archive is not as it was written, or is not the tenant's."""
    archive = Archive.read(folder)
    if tenant not in {None, archive.manifest.tenant_id}:
        raise CommandFailure(f"{folder} is an archive of {archive.manifest.tenant_id!r}, not of {tenant!r}")
    if not archive.is_checkable:
        raise CommandFailure(f"{folder} is an archive of version 0.1, which has no hashes: it cannot be checked")
    check_archive(archive)
    report(archive, as_json, "as they were written:")


def _forgotten(path: Path, tenant: str) -> CommandFailure:
    """What is said of a cell that is not there. One that should be is taken off the list, so that one may be made."""
    if not _unlist(path, tenant):
        return CommandFailure(f"{path} has no cell of tenant {tenant!r}", exit_code=ExitCode.NOT_FOUND)
    return CommandFailure(
        f"{path / tenant} is gone, and off the list of cells now: nothing can be read of it",
        hint=f"start the retrieval service and import an export: vecsec tenant import FOLDER --tenant {tenant}",
        exit_code=ExitCode.DAMAGED,
    )


def _unlist(path: Path, tenant: str) -> bool:
    """Take a cell that is not there off the store's list; says whether it was on it."""
    try:
        with output_of("vecsec_retrieval.repair.unlist", "--", str(path), tenant) as lines:
            return bool(json.loads(lines.read())["was_listed"])
    except ModuleFailed as failure:
        raise CommandFailure(f"the list of cells cannot be written: {failure}") from failure


def _missing_cells(path: Path) -> list[str]:
    try:
        return missing_cells(path, store_identity(path))
    except UnreadableIdentity as error:
        raise CommandFailure(str(error), hint="put it back from a backup of this store") from error


def _problems(cells: Sequence[Path]) -> dict[str, str]:
    """What is wrong, by the cell's name.

    Raises:
        CommandFailure: if they cannot be looked at.
    """
    try:
        with output_of("vecsec_retrieval.repair.verify", *map(str, cells)) as lines:
            found = [json.loads(line) for line in lines]
    except ModuleFailed as failure:
        raise CommandFailure(f"the cells cannot be read through: {failure}") from failure
    return {each["cell"]: each["problem"] for each in found if each["problem"] is not None}


def _salvage(cell: Path, tenant: str, writer: ArchiveWriter) -> tuple[Archive, int]:
    """Write what can be read; says how many rows cannot.

    Raises:
        CommandFailure: if nothing can.
    """
    lost = 0
    try:
        with output_of("vecsec_retrieval.repair.salvage", str(cell), tenant) as lines:
            for line in lines:
                fields = json.loads(line)
                if "document" in fields:
                    writer.add(fields["collection_id"], fields["embedding_model"], fields["document"])
                else:
                    lost = fields["unreadable_rows"] + fields["untagged_rows"]
    except ModuleFailed as failure:
        raise CommandFailure(
            f"nothing can be read of {cell}: {failure}",
            hint="start the retrieval service and import an export: vecsec tenant import FOLDER",
            exit_code=ExitCode.DAMAGED,
        ) from failure
    return writer.finish(), lost


@contextmanager
def _exclusively(path: Path) -> Iterator[None]:
    """Hold the lock that the retrieval service holds while it runs.

    Raises:
        CommandFailure: if it runs.
    """
    try:
        with (path / _LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise CommandFailure(
            f"{path} is in use by the retrieval service", hint="stop it: systemctl stop vecsec-retrieval"
        ) from error
    except FileNotFoundError as error:
        raise CommandFailure(f"{path} is not a store of VecSec's: it has no {_LOCK}") from error


def _chroma_path(state_dir: Path | None) -> Path:
    settings = operator_settings()
    if settings.get("CHROMA_CONNECTION_STRING"):
        raise CommandFailure(
            "cells are on a ChromaDB server (CHROMA_CONNECTION_STRING); this is for the embedded store",
            hint="back up and restore with `vecsec tenant export` and `vecsec tenant import`",
        )
    return Path(settings.get("CHROMA_PATH") or state_directory(state_dir).chroma).absolute()
