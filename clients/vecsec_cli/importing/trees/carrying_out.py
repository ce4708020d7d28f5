"""Carries an import of files out: what the store has is asked, what is new or changed is sent, what is gone is told."""

from dataclasses import asdict, replace

from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.import_run import ImportResult
from vecsec_cli.importing.reporting import BadRecordPrinter
from vecsec_cli.importing.targets import ImportTarget
from vecsec_cli.importing.trees.pruning import Prune, Pruning, pruning_of
from vecsec_cli.importing.trees.stored_sources import Collection, StoredFiles
from vecsec_cli.importing.trees.tree_run import TreeRun
from vecsec_cli.terminal import output
from vecsec_cli.terminal.progress_bar import progress_bar
from vecsec_cli.terminal.text import one_line, plain
from vecsec_client import DocumentsRejected, PermissionDenied, VecSecClient, VecSecError


def import_files(
    client: VecSecClient,
    reader: FileTreeSource,
    target: ImportTarget,
    *,
    again: bool,
    prune: Prune = Prune.NOTHING,
    relabel: bool = False,
) -> ImportResult:
    """Import a file or a folder: each file replaces what there is of it, in one step. `again` sends unchanged ones,
    too; `prune` says what becomes of what there is of files that the folder has no more; `relabel` gives
    files the options' label, whatever the one is that they have in the store.

    Raises:
        SourceError: if the folder cannot be read.
    """
    where = Collection(client, target.tenant, target.collection)
    with output.console(to_stderr=True).status(f"looking at {reader.name} …"):
        stored = StoredFiles(where.sources())
    run = _sent(client, reader, target, stored, again=again, relabel=relabel)
    result = replace(
        run.result(),
        unread=tuple(reader.unread),
        kept_labels=tuple(run.kept_labels),
        lowered=tuple(run.lowered),
    )
    staying: dict[str, int] = {}
    removed, pruning = run.removed, Pruning()
    if run.has_read_all:
        removed += _deleted(where, stored.surplus(run.parts))
        if reader.is_folder:
            staying = stored.others(run.parts)
            pruning = pruning_of(prune, reader.listing, staying, stored.file_count)
            if pruning.files:
                removed += _deleted(where, stored.sources_of(pruning.files))
                left = StoredFiles(where.sources())
                staying = {file: count for file in staying if (count := left.passages_of(file))}
    return replace(result, removed=removed, staying=staying, not_pruned=pruning.refused)


def _sent(
    client: VecSecClient,
    reader: FileTreeSource,
    target: ImportTarget,
    stored: StoredFiles,
    *,
    again: bool,
    relabel: bool,
) -> TreeRun:
    with progress_bar() as progress:
        bar = progress.add_task(one_line(reader.name, 40), total=None)
        printer = BadRecordPrinter(progress)
        run = TreeRun(reader, stored, again=again, relabel=relabel, strict=target.strict, on_bad=printer)
        try:
            for told in client.stream_import(run.documents(), **asdict(target), whole_sources=True):
                run.settle(told)
                progress.update(bar, completed=run.result().total)
        except DocumentsRejected as error:
            run.stop(error)
            run.has_read_all = False
        except (VecSecError, KeyboardInterrupt) as stopped:
            goes_on = "" if isinstance(stopped, PermissionDenied) else "; the same command goes on from there"
            progress.console.print(plain(f"stopped after {run.result().stored:,} documents{goes_on}"))
            raise
        run.finish()
        total = run.result().total
        progress.update(bar, total=total, completed=total)
        if not run.has_read_all:
            progress.console.print(plain("stopped at the first bad record (--strict); nothing behind it was stored"))
    return run


def _deleted(where: Collection, source_ids: list[str]) -> int:
    """Delete sources, as far as the caller may; how many passages went."""
    try:
        return where.delete(source_ids)
    except PermissionDenied:
        return 0
