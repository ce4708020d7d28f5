"""What `vecsec import` tells: bad records as they are found, and at the end what came in and what did not."""

from collections.abc import Collection

import typer
from rich.progress import Progress

from vecsec_cli.importing.import_run import ImportResult
from vecsec_cli.importing.readers.documents.isolated import INSTALL_DOCUMENTS, MISSING
from vecsec_cli.importing.records import BadRecord
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.text import one_line, plain

SHOWN_BAD_RECORDS = 20
SHOWN_WIDTH = 300
_NAMED_FILES = 10
_SHOWN_NAMES = 120


class BadRecordPrinter:
    """Prints the first bad records to stderr, above the progress bar."""

    def __init__(self, progress: Progress) -> None:
        self._console = progress.console
        self._count = 0

    def __call__(self, record: BadRecord) -> None:
        self._count += 1
        if self._count <= SHOWN_BAD_RECORDS:
            self._console.print(plain(one_line(str(record), SHOWN_WIDTH)), soft_wrap=True)
        elif self._count == SHOWN_BAD_RECORDS + 1:
            self._console.print(plain("… further bad records are only counted; --json lists the first thousand"))


def report(result: ImportResult, *, as_json: bool) -> None:
    """Print how an import ended; the exit status says whether all was read and stored."""
    rejected = result.rejections
    if as_json:
        shown = [
            {"line": each.line, "id": each.document_id, "field": each.field, "reason": each.reason, "place": each.place}
            for each in rejected.reported
        ]
        output.print_json(
            {
                "stored": result.stored,
                "rejected": shown,
                "rejected_count": rejected.count,
                "skipped": result.skipped,
                "total": result.total,
                "removed": result.removed,
                "staying": dict(result.staying),
                "kept_labels": result.kept_labels,
                "lowered": result.lowered,
                "not_pruned": result.not_pruned,
                "unread": [
                    {"kind": each.kind, "reason": each.reason, "count": each.count, "first": each.names}
                    for each in result.unread
                ],
            }
        )
    else:
        skipped = f", {result.skipped:,} were already there" if result.skipped else ""
        bad = f", {rejected.count:,} rejected" if rejected.count else ""
        output.console().print(f"stored {result.stored:,} of {result.total:,} documents{skipped}{bad}")
    if result.removed:
        output.note(f"deleted {result.removed:,} passages of an earlier import that the source has no more")
    _report_labels(result)
    if result.staying:
        output.note(
            f"{sum(result.staying.values()):,} passages of earlier imports stay as they are, "
            f"of {len(result.staying):,} files that are not in the source any more or were refused: "
            f"{_named(result.staying)}; `vecsec sources delete FILE` removes a file's, "
            "--prune those of all files that are gone"
        )
    if result.not_pruned:
        output.note(f"nothing was pruned: {result.not_pruned}")
    if result.unread and not as_json:
        _report_unread(result)
    if any(each.reason == MISSING for each in result.unread):
        output.note(f"documents need an extra: {INSTALL_DOCUMENTS}")
    if rejected.count or result.not_pruned or any(not each.is_wanted for each in result.unread):
        raise typer.Exit(ExitCode.SOME_FAILED)


def _report_labels(result: ImportResult) -> None:
    if result.kept_labels:
        output.note(
            f"{len(result.kept_labels):,} files keep the label that they have in the store, where the options say "
            f"another: {_named(result.kept_labels)}; --relabel gives them the options'"
        )
    if result.lowered:
        output.note(
            f"{len(result.lowered):,} files say of themselves that they are less sensitive than what was stored of "
            f"them, and now are: {_named(result.lowered)}"
        )


def _named(files: Collection[str]) -> str:
    """The first of these files, and that there are more."""
    return ", ".join(list(files)[:_NAMED_FILES]) + (", …" if len(files) > _NAMED_FILES else "")


def _report_unread(result: ImportResult) -> None:
    count = sum(each.count for each in result.unread)
    output.say(f"not read: {count:,} {'file or folder' if count == 1 else 'files and folders'}")
    output.print_table(
        "kind",
        output.folded("reason"),
        output.right("count"),
        output.folded("first of them"),
        rows=[
            (each.kind, each.reason, f"{each.count:,}", one_line(each.shown_names, _SHOWN_NAMES))
            for each in result.unread
        ],
    )
