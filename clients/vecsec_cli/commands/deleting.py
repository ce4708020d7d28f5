"""`vecsec delete`."""

import sys
from typing import Annotated

import typer

from vecsec_cli.commands.filter_expressions import parse_filters
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import CollectionOption, FilterOption, TenantOption, YesOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import counted
from vecsec_client import MetadataFilter

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how many documents it would be.")]


@with_gateway
def delete(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of documents, at most 1,000.")] = None,
    collection: CollectionOption = "",
    filters: FilterOption = None,
    whole_collection: Annotated[
        bool, typer.Option("--all", help="All documents, and the collection itself where nothing is left of it.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Delete documents: by id, by a filter, or all of a collection.

    What does not exist or may not be deleted is left out alike; of ids, the exit code says so. What a filter, or --all,
    would delete is counted first.
    """
    condition = parse_filters(filters or ())
    if [bool(ids), condition is not None, whole_collection].count(True) != 1:
        raise CommandFailure("say what to delete: ids, --filter, or --all")
    if ids:
        _delete_ids(session, list(dict.fromkeys(ids)), tenant, collection, dry_run=dry_run, yes=yes)
    else:
        delete_selected(session, condition, tenant, collection, dry_run=dry_run, yes=yes)


def _delete_ids(
    session: GatewaySession, wanted: list[str], tenant: str, collection: str, *, dry_run: bool, yes: bool
) -> None:
    if not (yes or dry_run) and sys.stdin.isatty():
        typer.confirm(f"Delete {counted(len(wanted))} of {tenant}?", abort=True, err=True)
    deleted = session.client.delete_documents(
        wanted, tenant=tenant, collection=collection, dry_run=dry_run
    ).deleted_count
    if session.json:
        told = {"deleted_count": deleted, "requested_count": len(wanted)}
        output.print_json({**told, "dry_run": True} if dry_run else told)
    else:
        output.say(f"{'would delete' if dry_run else 'deleted'} {deleted:,} of {counted(len(wanted))}")
    if deleted < len(wanted):
        raise typer.Exit(ExitCode.SOME_FAILED if deleted else ExitCode.NOT_FOUND)


def delete_selected(
    session: GatewaySession,
    condition: MetadataFilter | None,
    tenant: str,
    collection: str,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete what a filter selects, or all of a collection, once it was counted and that was confirmed."""

    def delete(*, only_count: bool) -> int:
        return session.client.delete_documents(
            tenant=tenant,
            collection=collection,
            filter=condition,
            whole_collection=condition is None,
            dry_run=only_count,
        ).deleted_count

    found = delete(only_count=True)
    if condition is not None:
        matching = session.client.count_documents(tenant=tenant, collection=collection, filter=condition)
        if matching > found:
            output.note(f"{counted(matching - found)} more match that you may read and not delete: they stay")
    what = f"{counted(found)} of {tenant}, collection {collection or 'documents'}"
    if dry_run:
        _say(session, found, f"would delete {what}", dry_run=True)
        return
    # An empty selection may be deleted, too: of a whole collection, what is left is then the collection.
    if not yes:
        confirmed(f"Delete {what}?", f"would delete {what}")
    _say(session, delete(only_count=False), "deleted", dry_run=False)


def _say(session: GatewaySession, count: int, words: str, *, dry_run: bool) -> None:
    if session.json:
        output.print_json({"deleted_count": count, "dry_run": dry_run})
    else:
        output.say(words if dry_run else f"{words} {counted(count)}")


def confirmed(question: str, otherwise: str) -> None:
    """Ask at the terminal.

    Raises:
        CommandFailure: where nobody can be asked, saying what would be done.
        typer.Abort: if the answer is no.
    """
    if not sys.stdin.isatty():
        raise CommandFailure(f"nobody can be asked here; {otherwise}", hint="--yes does it without asking")
    typer.confirm(question, abort=True, err=True)
