"""Carries an import out: journal, what goes before, what is sent, and what is told on the way."""

import os
from dataclasses import asdict, replace

from vecsec_cli.gateway_session import GatewaySession
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.import_run import ImportResult, ImportRun, earlier_result
from vecsec_cli.importing.journal import Journal, open_journal
from vecsec_cli.importing.records import Source
from vecsec_cli.importing.replacing import Collection
from vecsec_cli.importing.replacing_rows import RowReplacement
from vecsec_cli.importing.reporting import SHOWN_BAD_RECORDS, SHOWN_WIDTH, BadRecordPrinter
from vecsec_cli.importing.row_splitting import SplitSource
from vecsec_cli.importing.targets import ImportTarget
from vecsec_cli.importing.trees.carrying_out import import_files
from vecsec_cli.importing.trees.pruning import Prune
from vecsec_cli.local.run_file import read_run_file
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.progress_bar import progress_bar
from vecsec_cli.terminal.text import one_line, plain
from vecsec_client import DocumentsRejected, PermissionDenied, VecSecClient, VecSecError


def import_from(
    session: GatewaySession,
    reader: Source,
    target: ImportTarget,
    reading: str,
    *,
    restart: bool,
    prune: Prune = Prune.NOTHING,
    relabel: bool = False,
) -> ImportResult:
    """Import a source; `reading` tells ways of reading it apart, for a journal of another way says nothing. `prune`
    says what becomes of passages of files that a folder has no more, `relabel` that stored labels of files do not hold.

    Raises:
        SourceError: if the source cannot be read.
    """
    if prune is not Prune.NOTHING and not (isinstance(reader, FileTreeSource) and reader.is_folder):
        raise CommandFailure(f"--prune is for folders, and {reader.name} is none")
    if isinstance(reader, FileTreeSource):
        return import_files(session.client, reader, target, again=restart, prune=prune, relabel=relabel)
    if relabel:
        raise CommandFailure(f"--relabel is for files, and {reader.name} is none: its rows are labelled each time")
    replacement: RowReplacement | None = None
    with output.console(to_stderr=True).status(f"looking at {reader.name} …"):
        survey = reader.summarise()
        if isinstance(reader, SplitSource):
            replacement = RowReplacement(Collection(session.client, target.tenant, target.collection))
    content = None if survey.fingerprint is None else repr((survey.fingerprint, target.embedding_model, reading))
    scope = (_place_of(session), target.tenant, target.collection, os.path.realpath(reader.name))
    with open_journal(session.state.imports, content, *scope, start_over=restart) as journal:
        _forget_if_gone(session.client, target, journal)
        if journal.is_finished:
            result = _already_imported(reader, journal)
        else:
            result = _import(session.client, reader, survey.expected, target, journal, replacement=replacement)
    return result if replacement is None else replace(result, removed=replacement.removed)


def _already_imported(reader: Source, journal: Journal) -> ImportResult:
    """What an earlier run did."""
    output.note(f"{reader.name} was already imported; --restart imports it again")
    result = earlier_result(journal)
    for record in result.rejections.reported[:SHOWN_BAD_RECORDS]:
        output.note(one_line(str(record), SHOWN_WIDTH))
    return result


def _place_of(session: GatewaySession) -> str:
    """The installation that is imported into: a local one stays the same when its port changes."""
    running = read_run_file(session.state.run_file)
    return "local" if running is not None and running.gateway_address == session.address else session.address


def _forget_if_gone(client: VecSecClient, target: ImportTarget, journal: Journal) -> None:
    """A journal of a collection that was erased since says nothing."""
    if journal.settled:
        existing = {each.collection_id for each in client.list_collections(tenant=target.tenant)}
        if target.collection not in existing:
            journal.start_over()


def _import(
    client: VecSecClient,
    reader: Source,
    expected: int | None,
    target: ImportTarget,
    journal: Journal,
    *,
    replacement: RowReplacement | None,
) -> ImportResult:
    with progress_bar() as progress:
        bar = progress.add_task(one_line(reader.name, 40), total=expected, completed=journal.settled)
        printer = BadRecordPrinter(progress)
        run = ImportRun(reader, journal, strict=target.strict, on_bad=printer, replacement=replacement)
        try:
            for told in client.stream_import(run.documents(), **asdict(target)):
                run.settle(told)
                progress.update(bar, completed=run.result().total)
        except DocumentsRejected as error:
            run.stop(error)
            is_whole = False
        except (VecSecError, KeyboardInterrupt) as stopped:
            goes_on = "" if isinstance(stopped, PermissionDenied) else "; the same command goes on from there"
            progress.console.print(plain(f"stopped after {run.result().stored:,} documents{goes_on}"))
            raise
        else:
            is_whole = run.has_read_all
        result = run.finish()
        if is_whole:
            progress.update(bar, total=result.total, completed=result.total)
        else:
            progress.console.print(plain("stopped at the first bad record (--strict); nothing behind it was stored"))
        return result
