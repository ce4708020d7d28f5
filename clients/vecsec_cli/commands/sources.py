"""`vecsec sources`: files, pages and records whose passages came in together."""

from itertools import islice
from typing import Annotated

import typer
from rich.table import Column

from vecsec_cli.commands.deleting import DryRunOption, delete_selected
from vecsec_cli.commands.relabelling import (
    NoReadersOption,
    ReadersOption,
    RemovedOption,
    SensitivityOption,
    TopicsOption,
    change_of,
    relabel_selected,
)
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import AttributesOption, CollectionOption, TenantOption, YesOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.json_shapes import document_fields, fields_of
from vecsec_cli.terminal.text import one_line
from vecsec_client import Source, of_file

app = typer.Typer(help="List, show, relabel and delete sources: what came in together.", no_args_is_help=True)
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="The source's id, such as a file's path; its further parts (#part2 …) go with it."
    ),
]
_TEXT_WIDTH = 200


@app.command("list")
@with_gateway
def list_sources(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    collection: CollectionOption = "",
    limit: Annotated[int, typer.Option(min=0, help="So many at most; 0 lists all.")] = 100,
) -> None:
    """List the sources of which the caller may read passages; --json prints one a line."""
    found = session.client.iter_sources(tenant=tenant, collection=collection)
    if session.json:
        for source in islice(found, limit or None):
            output.print_json_line(fields_of(source))
        return
    shown = list(islice(found, limit or None))
    if shown:
        output.print_table(
            Column("source", overflow="fold"),
            output.right("passages"),
            output.folded("label"),
            output.folded("title"),
            Column("version", overflow="ellipsis", no_wrap=True, max_width=16),
            rows=[
                (each.source_id, f"{each.document_count:,}", _labels(each), each.title, each.version) for each in shown
            ],
        )
    rest = "; --limit 0 lists all" if limit and len(shown) == limit else ""
    output.say(f"{len(shown):,} {'source' if len(shown) == 1 else 'sources'}{rest}")


@app.command()
@with_gateway
def show(
    session: GatewaySession, *, source_id: SourceArgument, tenant: TenantOption, collection: CollectionOption = ""
) -> None:
    """Show a source's passages that the caller may read, in their order; --json prints one a line."""
    found = session.client.iter_documents(tenant=tenant, collection=collection, filter=of_file(source_id))
    passages = sorted(found, key=lambda each: 0 if each.source is None else each.source.position)
    for each in passages if session.json else ():
        output.print_json_line(document_fields(each))
    if passages and not session.json:
        output.print_table(
            output.right("position"),
            Column("document", overflow="fold", max_width=40),
            Column("text", overflow="ellipsis", no_wrap=True, ratio=1),
            rows=[
                (str(each.source.position), each.document_id, one_line(each.text, _TEXT_WIDTH))
                for each in passages
                if each.source is not None
            ],
            expand=True,
        )
    if not passages:
        output.note(f"no passage of {source_id!r} that you may read")
        raise typer.Exit(ExitCode.NOT_FOUND)


@app.command()
@with_gateway
def relabel(
    session: GatewaySession,
    *,
    source_id: SourceArgument,
    tenant: TenantOption,
    collection: CollectionOption = "",
    sensitivity: SensitivityOption = None,
    topics: TopicsOption = None,
    attributes: AttributesOption = None,
    removed: RemovedOption = None,
    readers: ReadersOption = None,
    no_readers: NoReadersOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Change the labels of a source's passages, as `vecsec relabel` does. An import keeps what a file does not say."""
    change = change_of(sensitivity, topics, attributes, removed, readers, no_readers=no_readers)
    selection = {"tenant": tenant, "collection": collection, "filter": of_file(source_id)}
    relabel_selected(session, selection, change, dry_run=dry_run, yes=yes)


@app.command()
@with_gateway
def delete(
    session: GatewaySession,
    *,
    source_id: SourceArgument,
    tenant: TenantOption,
    collection: CollectionOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Delete a source's passages, all parts of a large file, in one step: those that the caller may read and delete."""
    delete_selected(session, of_file(source_id), tenant, collection, dry_run=dry_run, yes=yes)


def _labels(source: Source) -> str:
    """As few words as tell them apart at a glance."""
    words = {f"{each.sensitivity or '?'} {','.join(each.topics)}" for each in source.labels}
    return "; ".join(sorted(words))
