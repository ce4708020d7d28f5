"""`vecsec tenant export`: every document that the caller may read, with its embedding, into files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import TenantOption
from vecsec_cli.stored_ids import pages
from vecsec_cli.tenants.archive import Archive, writing_archive
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import document_fields
from vecsec_client import Collection, Document, ResourceExhausted, VecSecClient

_IDS_A_PAGE = 200
"""Small enough for most texts to fit into an answer with their embeddings; larger ones are asked for in halves."""


@with_gateway
def export(
    session: GatewaySession,
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    tenant: TenantOption,
) -> None:
    """Write a tenant's documents with their embeddings to a new folder, while the services go on.

    What the token may not read is not in it: use an administrator's. Embeddings are only for roles that may configure.
    `vecsec tenant import` reads the folder; each of its .jsonl files is also read by `vecsec import`.
    """
    with writing_archive(folder, tenant) as writer:
        for collection in session.client.list_collections(tenant=tenant):
            for document in _documents(session.client, tenant, collection):
                writer.add(collection.collection_id, collection.embedding_model, _line(document))
        archive = writer.finish()
    report(archive, session.json, "exported")


def report(archive: Archive, as_json: bool, done: str) -> None:
    """Say what an archive holds, and what was done with it."""
    if as_json:
        counts = {each.collection_id: each.document_count for each in archive.collections}
        output.print_json({"folder": str(archive.folder), "tenant_id": archive.tenant_id, "documents": counts})
        return
    for each in archive.collections:
        output.say(f"{each.collection_id}: {each.document_count:,} documents")
    output.say(f"{done} {archive.document_count:,} documents of {archive.tenant_id}: {archive.folder}")


def _documents(client: VecSecClient, tenant: str, collection: Collection) -> Iterator[Document]:
    name = collection.collection_id
    for page in pages(partial(client.list_document_ids, tenant=tenant, collection=name, page_size=_IDS_A_PAGE)):
        yield from _read(client, tenant, name, list(page.document_ids))


def _read(client: VecSecClient, tenant: str, collection_id: str, ids: list[str]) -> Iterator[Document]:
    """The documents; those that were deleted meanwhile are left out."""
    if not ids:
        return
    try:
        answer = client.get_documents(ids, tenant=tenant, collection=collection_id, include_embeddings=True)
    except ResourceExhausted:
        if len(ids) == 1:
            raise
        middle = len(ids) // 2
        yield from _read(client, tenant, collection_id, ids[:middle])
        yield from _read(client, tenant, collection_id, ids[middle:])
    else:
        yield from answer.documents


def _line(document: Document) -> dict[str, object]:
    fields = document_fields(document)
    del fields["tenant_id"]
    return {"id": fields.pop("document_id"), **fields}
