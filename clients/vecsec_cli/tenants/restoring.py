"""`vecsec tenant import`: the documents of an export, or of a repair, back into a tenant."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.importing.carrying_out import import_from
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import Passage
from vecsec_cli.importing.targets import ImportTarget
from vecsec_cli.options import TenantOption
from vecsec_cli.stored_ids import stored_ids
from vecsec_cli.tenants.archive import Archive
from vecsec_cli.tenants.archive_check import check_archive
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import VecSecClient

_BATCH = 256
_NAMED = 10
_EXTERNAL = "external"
"""The model's name of collections whose callers bring all embeddings; documents with embeddings make such a one."""


@with_gateway
def import_archive(
    session: GatewaySession,
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `vecsec tenant export` or `repair` wrote.")],
    tenant: TenantOption,
    from_tenant: Annotated[
        str, typer.Option(help="Take the archive though it is this other tenant's.", show_default=False)
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let another tenant's archive replace documents that exist.")
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Take an archive of version 0.1, which cannot be checked.")
    ] = False,
) -> None:
    """Store the documents of an export in a tenant; those with an id that exists are replaced, others stay.

    The archive is checked as a whole before anything is stored: one that is cut, altered or damaged, or lacks files or
    has more, is refused.

    The archive of another tenant is refused without --from-tenant, and where it would replace documents without
    --overwrite: one tenant's rows would stand in another, perhaps for the other's own.

    Collections keep their embedding model. Documents without an embedding, such as repairs of cells of version 0.1
    give, are embedded anew. Exit code 1 means that some were refused or, of collections with embeddings of the callers'
    own, cannot be restored from such a repair; the rest is stored.
    """
    archive = Archive.read(folder)
    _check_tenant(archive, tenant, from_tenant)
    _check_files(archive, unchecked=unchecked)
    if archive.manifest.tenant_id != tenant and not overwrite:
        _refuse_to_replace(session.client, archive, tenant)
    stored = rejected = 0
    for each in archive.manifest.collections:
        if each.embedding_model == _EXTERNAL and not _has_embeddings(archive.file(each)):
            output.note(f"{each.collection_id}: left out, for its embeddings were the callers' own and are not here")
            rejected += each.document_count
            continue
        model = "" if each.embedding_model == _EXTERNAL else each.embedding_model
        target = ImportTarget(tenant, each.collection_id, model, _BATCH, strict=False)
        result = import_from(session, JsonLinesSource(archive.file(each), Defaults()), target, "archive", restart=True)
        stored += result.stored
        rejected += result.rejections.count
        if not session.json:
            output.say(f"{each.collection_id}: stored {result.stored:,} of {result.total:,} documents")
    if session.json:
        output.print_json({"stored": stored, "rejected_count": rejected, "total": archive.manifest.document_count})
    if rejected:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _check_tenant(archive: Archive, tenant: str, from_tenant: str) -> None:
    owner = archive.manifest.tenant_id
    if from_tenant and owner != from_tenant:
        raise CommandFailure(f"{archive.folder} is an archive of {owner!r}, not of {from_tenant!r}")
    if owner != (from_tenant or tenant):
        raise CommandFailure(
            f"{archive.folder} is an archive of {owner!r}; its documents would become those of {tenant!r}",
            hint=f"if that is meant: --from-tenant {owner}",
        )


def _check_files(archive: Archive, *, unchecked: bool) -> None:
    if archive.is_checkable:
        with output.console(to_stderr=True).status(f"checking {archive.folder} …"):
            check_archive(archive)
    elif unchecked:
        output.note(f"{archive.folder} is of version 0.1 and could not be checked: it may be cut or altered")
    else:
        # An archive that was altered must not pass by saying that it is too old to be checked.
        raise CommandFailure(
            f"{archive.folder} is an archive of version 0.1, which has no hashes: whether it was cut or altered "
            "cannot be found out",
            hint="if you trust it: --unchecked",
        )


def _refuse_to_replace(client: VecSecClient, archive: Archive, tenant: str) -> None:
    """Compare with what the caller may read: what is hidden from it is not told apart from what does not exist."""
    replaced = [
        f"{each.collection_id}/{document_id}"
        for each in archive.manifest.collections
        for document_id in _ids_of(archive.file(each)).intersection(
            stored_ids(client, tenant=tenant, collection=each.collection_id)
        )
    ]
    if replaced:
        names = ", ".join(sorted(replaced)[:_NAMED])
        rest = ", …" if len(replaced) > _NAMED else ""
        raise CommandFailure(
            f"documents of {archive.manifest.tenant_id!r} would replace {len(replaced):,} of {tenant!r}: {names}{rest}",
            hint="if that is meant: --overwrite",
        )


def _ids_of(file: Path) -> set[str]:
    """The ids of an archived collection; lines that are no documents are reported by the import."""
    records = JsonLinesSource(file, Defaults()).records()
    return {record.document.document_id for record in records if isinstance(record, Passage)}


def _has_embeddings(file: Path) -> bool:
    """Whether an archived collection has them: all of its documents or none, by how the archive was made."""
    with file.open("rb") as lines:
        return "embedding" in json.loads(next(lines, b"{}"))
