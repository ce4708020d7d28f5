"""`vecsec tenant export`: every document that the caller may read, with its embedding, into files."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import TenantOption
from vecsec_cli.tenants.archive import Archive
from vecsec_cli.tenants.archive_writing import ArchiveWriter, writing_archive
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import document_fields
from vecsec_cli.terminal.progress_bar import progress_bar
from vecsec_client import Document, InvalidArgument, VecSecClient

_TRIES = 3
"""So often everything is read, where the services let go of a moment or the store can hold none."""


@with_gateway
def export(
    session: GatewaySession,
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    tenant: TenantOption,
) -> None:
    """Write a tenant's documents with their embeddings to a new folder, as they are at one moment, while the services
    go on.

    What the token may not read is not in it: use an administrator's. Embeddings are only for roles that may configure.
    `vecsec tenant import` reads the folder; each of its .jsonl files is also read by `vecsec import`.

    A ChromaDB server (CHROMA_CONNECTION_STRING) can hold no moment. There everything is read again until nothing has
    changed meanwhile, three times at most; if something still has, that is said.
    """
    with writing_archive(folder, tenant) as writer:
        is_of_one_moment = write_all(session.client, tenant, writer)
        archive = writer.finish(is_of_one_moment=is_of_one_moment)
    report(archive, session.json, "exported")
    output.note("documents that this token may not read are not in it")
    if not is_of_one_moment:
        output.note(
            "documents changed while they were read: each is whole, but they are not of one moment, for a ChromaDB "
            "server can hold none; export again while nobody writes"
        )


def report(archive: Archive, as_json: bool, done: str) -> None:
    """Say what an archive holds, and what was done with it."""
    manifest = archive.manifest
    if as_json:
        counts = {each.collection_id: each.document_count for each in manifest.collections}
        output.print_json(
            {
                "folder": str(archive.folder),
                "tenant_id": manifest.tenant_id,
                "documents": counts,
                "one_moment": manifest.is_of_one_moment,
            }
        )
        return
    for each in manifest.collections:
        output.say(f"{each.collection_id}: {each.document_count:,} documents")
    output.say(f"{done} {manifest.document_count:,} documents of {manifest.tenant_id}: {archive.folder}")


def write_all(client: VecSecClient, tenant: str, writer: ArchiveWriter) -> bool:
    """Write everything; says whether it is of one moment.

    Raises:
        CommandFailure: if it could not be read to its end under one policy and, where one was held, of one moment.
    """
    total = sum(each.document_count for each in client.list_collections(tenant=tenant))
    with progress_bar() as progress:
        bar = progress.add_task(f"export of {tenant}", total=total)
        earlier, why = None, ""
        for _ in range(_TRIES):
            writer.start_over()
            progress.reset(bar, total=total)
            try:
                is_held = _write(client, tenant, writer, lambda count: progress.advance(bar, count))
            except _Lost as lost:
                why = str(lost)
                progress.console.print(f"{why}; reading everything again")
                continue
            if is_held or writer.collections == earlier:
                written = sum(each.document_count for each in writer.collections)
                progress.update(bar, total=written, completed=written)
                return True
            earlier, why = writer.collections, ""
    if why:
        raise CommandFailure(f"the export was begun {_TRIES} times: {why}", exit_code=ExitCode.UNAVAILABLE)
    return False


class _Lost(Exception):
    """What is read from here on would not fit to what was read before; the message says why."""


def _write(client: VecSecClient, tenant: str, writer: ArchiveWriter, advance: Callable[[int], None]) -> bool:
    """Write every page; says whether all are of one moment that the services held.

    Raises:
        _Lost: if they hold it no more, or other rules say what the token may read.
    """
    moment = page_token = policy_version = ""
    while True:
        try:
            page = client.export_documents(tenant=tenant, moment=moment, page_token=page_token)
        except InvalidArgument as error:
            if any(each.field == "moment" for each in error.violations):
                raise _Lost("the services hold the moment no more") from error
            raise
        if policy_version not in {"", page.policy_version}:
            raise _Lost("the policy was changed meanwhile")
        for document in page.documents:
            writer.add(page.collection_id, page.embedding_model, _line(document))
        advance(len(page.documents))
        moment, page_token, policy_version = page.moment, page.next_page_token, page.policy_version
        if not page_token:
            return bool(moment)


def _line(document: Document) -> dict[str, object]:
    fields = document_fields(document)
    del fields["tenant_id"]
    return {"id": fields.pop("document_id"), **fields}
