"""`vecsec audit verify`: prove that nothing in the log was altered, removed, moved or put in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from vecsec_cli.options import JsonOption, StateDirectoryOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.text import plain
from vecsec_policy.audit.findings import AuditFinding, AuditNote
from vecsec_policy.audit.log_files import log_files
from vecsec_policy.audit.verification import VerifiedLog, verify_log
from vecsec_workbench.audit.records import FileOption, audit_log


def verify(
    *,
    file: FileOption = None,
    state_dir: StateDirectoryOption = None,
    expect_head: Annotated[
        list[str] | None,
        typer.Option(
            "--expect-head",
            metavar="HASH",
            help="The log must have a record with this hash, noted elsewhere (the service logs `audit head`); "
            "may be repeated.",
        ),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(
            "--anchor", metavar="HASH", help="The hash of the record before the first, if files were archived."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Verify the log's hash chain; the exit status is 1 if anything is wrong.

    A chain alone cannot show that the newest records were removed, or that somebody wrote the whole log anew: compare
    with a head that was noted elsewhere (--expect-head).
    """
    path = audit_log(file, state_dir)
    with _progress(path, shown=not json) as on_progress:
        log = verify_log(path, anchor=anchor, expected_heads=expect_head or (), on_progress=on_progress)
    if json:
        output.print_json(log_document(log))
    else:
        _print(log, has_expectation=bool(expect_head))
    if log.findings:
        raise typer.Exit(ExitCode.SOME_FAILED)


@contextmanager
def _progress(path: Path, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal, which is gone at the end."""
    console = output.console(to_stderr=True)
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task("verifying", total=sum(each.stat().st_size for each in log_files(path)))
        yield lambda size: progress.advance(task, size)


def log_document(log: VerifiedLog) -> dict[str, object]:
    """The result as a document."""
    return {
        "is_whole": not log.findings,
        "replica_id": log.replica_id,
        "files": [str(file) for file in log.files],
        "record_count": log.record_count,
        "head": {"sequence": log.head.sequence, "hash": log.head.hash},
        "findings": [
            {
                "kind": finding.kind.value,
                **_place(finding),
                "sequence": finding.sequence,
                "description": finding.description,
            }
            for finding in log.findings
        ],
        "notes": [{**_place(note), "description": note.description} for note in log.notes],
    }


def _place(item: AuditFinding | AuditNote) -> dict[str, object]:
    return {
        "file": None if item.place is None else str(item.place.file),
        "line": None if item.place is None else item.place.line,
    }


def _print(log: VerifiedLog, *, has_expectation: bool) -> None:
    for note in log.notes:
        output.note(f"note: {note.place}: {note.description}" if note.place else f"note: {note.description}")
    if log.findings:
        rows = [
            (
                plain(finding.kind.value, "bold red"),
                str(finding.place or "the log"),
                "" if finding.sequence is None else f"{finding.sequence}",
                finding.description,
            )
            for finding in log.findings
        ]
        output.print_table("what", "where", "record", "how it shows", rows=rows)
    verdict = plain("not whole", "bold red") if log.findings else plain("whole", "bold green")
    output.say(
        verdict + plain(f": {log.record_count:,} records of {log.replica_id or 'nobody'} in {len(log.files)} files")
    )
    output.say(plain(f"head: record {log.head.sequence}, {log.head.hash}"))
    if not has_expectation:
        output.say(plain("compare it with one that was noted elsewhere: --expect-head", "dim"))
