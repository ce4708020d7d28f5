"""`vecsec import`: documents from files, folders and existing collections."""

import os
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import typer
from rich.progress import Progress

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.importing.csv_table import Columns
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.fields import BadField, checked_topics
from vecsec_cli.importing.import_run import ImportResult, ImportRun, earlier_result
from vecsec_cli.importing.journal import Journal, open_journal
from vecsec_cli.importing.records import BadRecord, Source
from vecsec_cli.importing.replacing import EarlierImport, remove_surplus
from vecsec_cli.importing.sources import ReadingOptions, SourceFormat, open_source
from vecsec_cli.importing.text_folder import TextFolderSource
from vecsec_cli.local.run_file import read_run_file
from vecsec_cli.options import CollectionOption, TenantOption, split_words
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.progress_bar import progress_bar
from vecsec_cli.terminal.text import one_line, plain
from vecsec_client import DocumentsRejected, PermissionDenied, Sensitivity, VecSecClient, VecSecError

DEFAULT_COLLECTION = "documents"
_SHOWN_BAD_RECORDS = 20
_SHOWN_WIDTH = 300
_NAMED_FILES = 10


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where and how documents are stored: what `VecSecClient.import_documents` takes beside them."""

    tenant: str
    collection: str
    embedding_model: str
    batch_size: int
    strict: bool


@with_gateway
def import_documents(
    session: GatewaySession,
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .jsonl or .csv file, a folder of .txt and .md files, chroma:PATH#COLLECTION, "
            "chroma+http://HOST:PORT#COLLECTION, or - for JSON lines from stdin.",
        ),
    ],
    tenant: TenantOption,
    collection: CollectionOption = DEFAULT_COLLECTION,
    sensitivity: Annotated[
        Sensitivity | None, typer.Option(case_sensitive=False, help="For documents that have none of their own.")
    ] = None,
    topics: Annotated[
        list[str] | None, typer.Option(help="For documents that have none of their own: a,b or several times.")
    ] = None,
    source_format: Annotated[
        SourceFormat | None, typer.Option("--format", help="Default: by the source's name.", show_default=False)
    ] = None,
    id_column: Annotated[str, typer.Option(help="CSV: the column of ids.")] = "id",
    text_column: Annotated[str, typer.Option(help="CSV: the column of texts.")] = "text",
    sensitivity_column: Annotated[
        str, typer.Option(help="CSV: the column, ChromaDB: the metadata key.")
    ] = "sensitivity",
    topics_column: Annotated[
        str, typer.Option(help="CSV: the column, ChromaDB: the metadata key; topics separated by commas.")
    ] = "topics",
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="ChromaDB: store its vectors instead of embedding the texts anew.")
    ] = False,
    embedding_model: Annotated[
        str, typer.Option(help="Embeds the texts of a new collection. Default: the service's.", show_default=False)
    ] = "",
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Documents stored at once.")] = 256,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Import from the start again.")] = False,
) -> None:
    """Import documents. A document with an id that exists is replaced; a file of a folder, with all of its passages.

    Bad lines are reported with their place, the rest is imported, and the exit code is 1. An import that was cut off
    goes on where it stopped when the same command is given again.
    """
    columns = Columns(id=id_column, text=text_column, sensitivity=sensitivity_column, topics=topics_column)
    options = ReadingOptions(columns, _defaults(sensitivity, topics or []), keep_embeddings)
    target = ImportTarget(tenant, collection or DEFAULT_COLLECTION, embedding_model, batch_size, strict)
    reader = open_source(source, source_format, options)
    _report(session, import_from(session, reader, target, repr(options), restart=restart))


def import_from(
    session: GatewaySession, reader: Source, target: ImportTarget, reading: str, *, restart: bool
) -> ImportResult:
    """Import a source; `reading` tells ways of reading it apart, for a journal of another way says nothing.

    Raises:
        SourceError: if the source cannot be read.
    """
    earlier = EarlierImport()
    with output.console(to_stderr=True).status(f"looking at {reader.name} …"):
        survey = reader.summarise()
        if isinstance(reader, TextFolderSource):
            reader, earlier = remove_surplus(session.client, reader, tenant=target.tenant, collection=target.collection)
            survey = reader.summarise()
    content = None if survey.fingerprint is None else repr((survey.fingerprint, target.embedding_model, reading))
    scope = (_place_of(session), target.tenant, target.collection, os.path.realpath(reader.name))
    with open_journal(session.state.imports, content, *scope, start_over=restart) as journal:
        _forget_if_gone(session.client, target, journal)
        if journal.is_finished:
            output.note(f"{reader.name} was already imported; --restart imports it again")
            result = earlier_result(journal)
            for record in result.rejections.reported[:_SHOWN_BAD_RECORDS]:
                output.note(one_line(str(record), _SHOWN_WIDTH))
        else:
            result = _import(session.client, reader, survey.expected, target, journal)
    refused = [each.document_id for each in result.rejections.reported]
    return replace(result, removed=earlier.removed, staying=earlier.staying(refused))


def _defaults(sensitivity: Sensitivity | None, topics: list[str]) -> Defaults:
    words = split_words(topics)
    try:
        return Defaults(sensitivity, checked_topics(words) if words else ())
    except BadField as problem:
        raise CommandFailure(f"--topics: {problem.reason}") from problem


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
    client: VecSecClient, reader: Source, expected: int | None, target: ImportTarget, journal: Journal
) -> ImportResult:
    with progress_bar() as progress:
        bar = progress.add_task(one_line(reader.name, 40), total=expected, completed=journal.settled)
        run = ImportRun(reader, journal, strict=target.strict, on_bad=_BadRecordPrinter(progress))
        try:
            for told in client.import_documents(run.documents(), **asdict(target)):
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


class _BadRecordPrinter:
    """Prints the first bad records to stderr, above the progress bar."""

    def __init__(self, progress: Progress) -> None:
        self._console = progress.console
        self._count = 0

    def __call__(self, record: BadRecord) -> None:
        self._count += 1
        if self._count <= _SHOWN_BAD_RECORDS:
            self._console.print(plain(one_line(str(record), _SHOWN_WIDTH)), soft_wrap=True)
        elif self._count == _SHOWN_BAD_RECORDS + 1:
            self._console.print(plain("… further bad records are only counted; --json lists the first thousand"))


def _report(session: GatewaySession, result: ImportResult) -> None:
    rejected = result.rejections
    if session.json:
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
            }
        )
    else:
        skipped = f", {result.skipped:,} were already there" if result.skipped else ""
        bad = f", {rejected.count:,} rejected" if rejected.count else ""
        output.console().print(f"stored {result.stored:,} of {result.total:,} documents{skipped}{bad}")
    if result.removed:
        output.note(f"deleted {result.removed:,} passages of an earlier import that their files have no more")
    if result.staying:
        named = ", ".join(list(result.staying)[:_NAMED_FILES]) + (", …" if len(result.staying) > _NAMED_FILES else "")
        output.note(
            f"{sum(result.staying.values()):,} passages of earlier imports stay as they are, "
            f"of {len(result.staying):,} files that are not in the source any more or were refused: {named}; "
            "`vecsec delete ID…` removes passages"
        )
    if rejected.count:
        raise typer.Exit(ExitCode.SOME_FAILED)
