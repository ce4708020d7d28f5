"""`vecsec relabel`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vecsec_cli.commands.deleting import confirmed
from vecsec_cli.commands.filter_expressions import parse_filters
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import (
    AttributesOption,
    CollectionOption,
    FilterOption,
    TenantOption,
    YesOption,
    key_value_pairs,
    split_words,
)
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import counted
from vecsec_client import Sensitivity

SensitivityOption = Annotated[Sensitivity | None, typer.Option(case_sensitive=False, help="How sensitive they are.")]
TopicsOption = Annotated[
    list[str] | None, typer.Option("--topics", help="What they are about, instead of what was said before.")
]
RemovedOption = Annotated[
    list[str] | None, typer.Option("--remove-attribute", help="An attribute that is to go; may be repeated.")
]
ReadersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reader",
        metavar="user:SUBJECT|group:NAME",
        help="Who alone may read them, instead of who could before; may be repeated.",
    ),
]
NoReadersOption = Annotated[
    bool, typer.Option("--no-readers", help="Let all read them whom the other rules let through.")
]


@with_gateway
def relabel(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of documents, at most 1,000.")] = None,
    collection: CollectionOption = "",
    filters: FilterOption = None,
    whole_collection: Annotated[bool, typer.Option("--all", help="All documents of the collection.")] = False,
    sensitivity: SensitivityOption = None,
    topics: TopicsOption = None,
    attributes: AttributesOption = None,
    removed: RemovedOption = None,
    readers: ReadersOption = None,
    no_readers: NoReadersOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many documents it would be.")] = False,
    yes: YesOption = False,
) -> None:
    """Change labels, without embedding anything again: by id, by a filter, or of a whole collection.

    What of a label is not named stays. Changed are documents that the caller may read and write. If one of the new
    labels is not theirs to write, nothing is changed.
    """
    condition = parse_filters(filters or ())
    if [bool(ids), condition is not None, whole_collection].count(True) != 1:
        raise CommandFailure("say what to relabel: ids, --filter, or --all")

    wanted = {
        "document_ids": list(dict.fromkeys(ids or ())),
        "tenant": tenant,
        "collection": collection,
        "filter": condition,
        "whole_collection": whole_collection,
    }
    change = change_of(sensitivity, topics, attributes, removed, readers, no_readers=no_readers)
    count = relabel_selected(session, wanted, change, dry_run=dry_run, yes=yes)
    if ids and not count:
        raise typer.Exit(ExitCode.NOT_FOUND)


def change_of(
    sensitivity: Sensitivity | None,
    topics: list[str] | None,
    attributes: list[str] | None,
    removed: list[str] | None,
    readers: list[str] | None,
    *,
    no_readers: bool,
) -> dict[str, Any]:
    """What options say is to be otherwise, as `relabel_documents` takes it."""
    return {
        "sensitivity": sensitivity,
        "topics": split_words(topics or ()),
        "attributes": key_value_pairs(attributes or (), "--attribute"),
        "removed_attributes": removed or (),
        "readers": readers,
        "remove_readers": no_readers,
    }


def relabel_selected(
    session: GatewaySession, selection: Mapping[str, Any], change: Mapping[str, Any], *, dry_run: bool, yes: bool
) -> int:
    """Relabel, once it was counted and that was confirmed; how many documents it were, or would be."""

    def relabelled(*, only_count: bool) -> int:
        return session.client.relabel_documents(**selection, **change, dry_run=only_count).relabelled_count

    found = relabelled(only_count=True)
    what = f"relabel {counted(found)} of {selection['tenant']}, collection {selection['collection'] or 'documents'}"
    if not (dry_run or yes):
        confirmed(f"{what.capitalize()}?", f"would {what}")
    count = found if dry_run else relabelled(only_count=False)
    if session.json:
        output.print_json({"relabelled_count": count, "dry_run": dry_run})
    else:
        output.say(f"would {what}" if dry_run else f"relabelled {counted(count)}")
    return count
