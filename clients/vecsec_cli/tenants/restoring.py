"""`vecsec tenant import`: the documents of an export, or of a repair, back into a tenant."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli import output
from vecsec_cli.exit_codes import ExitCode
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.importing.command import Target, import_from
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.options import TenantOption
from vecsec_cli.tenants.archive import Archive

_BATCH = 256
_EXTERNAL = "external"
"""The model's name of collections whose callers bring all embeddings; documents with embeddings make such a one."""


@with_gateway
def import_archive(
    session: GatewaySession,
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `vecsec tenant export` or `repair` wrote.")],
    tenant: TenantOption,
) -> None:
    """Store the documents of an export in a tenant; those with an id that exists are replaced, others stay.

    Collections keep their embedding model. Documents without an embedding, such as repairs give, are embedded anew.
    Exit code 1 means that some were refused or, of collections with embeddings of the callers' own, cannot be restored
    from a repair; the rest is stored.
    """
    archive = Archive.read(folder)
    stored = rejected = 0
    for each in archive.collections:
        if each.embedding_model == _EXTERNAL and not _has_embeddings(archive.file(each)):
            output.note(f"{each.collection_id}: left out, for its embeddings were the callers' own and are not here")
            rejected += each.document_count
            continue
        model = "" if each.embedding_model == _EXTERNAL else each.embedding_model
        target = Target(tenant, each.collection_id, model, _BATCH, strict=False)
        result = import_from(session, JsonLinesSource(archive.file(each), Defaults()), target, "archive", restart=True)
        stored += result.stored
        rejected += result.rejections.count
        if not session.json:
            output.say(f"{each.collection_id}: stored {result.stored:,} of {result.total:,} documents")
    if session.json:
        output.print_json({"stored": stored, "rejected_count": rejected, "total": archive.document_count})
    if rejected:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _has_embeddings(file: Path) -> bool:
    """Whether an archived collection has them: all of its documents or none, by how the archive was made."""
    with file.open("rb") as lines:
        return "embedding" in json.loads(next(lines, b"{}"))
