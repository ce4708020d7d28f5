"""`vecsec get` and `vecsec collections`."""

from collections.abc import Mapping
from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import CollectionOption, EmbeddingsOption, TenantOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.json_shapes import attribute_fields, document_fields
from vecsec_cli.terminal.text import plain, sensitivity_style
from vecsec_client import Document

IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of documents, at most 1,000.")]


@with_gateway
def get(
    session: GatewaySession,
    *,
    ids: IdsArgument,
    tenant: TenantOption,
    collection: CollectionOption = "",
    include_embeddings: EmbeddingsOption = False,
) -> None:
    """Read documents by id. Ids that do not exist or may not be read are missing alike, and the exit code says so."""
    answer = session.client.get_documents(
        ids, tenant=tenant, collection=collection, include_embeddings=include_embeddings
    )
    found = {document.document_id for document in answer.documents}
    missing = [each for each in dict.fromkeys(ids) if each not in found]
    if session.json:
        documents = [document_fields(document) for document in answer.documents]
        output.print_json({"documents": documents, "missing": missing, "policy_version": answer.policy_version})
    else:
        for document in answer.documents:
            _print_document(document)
        if missing:
            output.note(f"not found, or not readable with this token: {', '.join(missing)}")
    if missing:
        raise typer.Exit(ExitCode.SOME_FAILED if found else ExitCode.NOT_FOUND)


@with_gateway
def collections(session: GatewaySession, tenant: TenantOption) -> None:
    """List a tenant's collections, with the number of documents that the caller may read."""
    found = session.client.list_collections(tenant=tenant)
    if session.json:
        output.print_json({"collections": found})
        return
    if found:
        output.print_table(
            "collection",
            output.right("documents you may read"),
            "embedding model",
            output.right("dimensions"),
            rows=[(e.collection_id, f"{e.document_count:,}", e.embedding_model, str(e.dimensions)) for e in found],
        )
    else:
        output.say(f"no collection of {tenant} holds anything that you may read")


def _print_document(document: Document) -> None:
    name, style = sensitivity_style(document.sensitivity)
    output.say(plain(document.document_id, "bold") + plain("  ") + plain(name, style))
    for title, values in (
        ("topics", ", ".join(document.topics)),
        ("readers", ", ".join(document.readers or ())),
        ("attributes", _pairs(attribute_fields(document.attributes))),
        ("metadata", _pairs(document.metadata)),
    ):
        if values:
            output.say(plain(f"{title}: ", "dim") + plain(values))
    output.say(document.text)
    if document.embedding:
        output.say(plain(f"embedding: {len(document.embedding)} numbers; --json prints them", "dim"))
    output.say()


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
