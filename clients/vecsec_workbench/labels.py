"""`vecsec policy labels`: the labels that a tenant's documents bear, to compare policies on."""

from typing import Annotated

import typer
from rich.table import Table

from vecsec_cli import output
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.terminal_text import plain
from vecsec_workbench.existing_labels import labels_document, read_from_gateway


@with_gateway
def labels(
    session: GatewaySession,
    *,
    tenant: Annotated[list[str], typer.Option("--tenant", help="A tenant; may be repeated.")],
) -> None:
    """List the labels of tenants' documents and how many bear each; for callers who may configure the tenants.

    Save them with `--json > labels.json` for `vecsec policy diff --labels labels.json`, which then needs no services.
    """
    found = read_from_gateway(session.client, tenant)
    if session.json:
        output.print_json(labels_document(found))
        return
    table = Table("tenant", "collection", "sensitivity", "topics", "attributes", header_style="bold")
    table.add_column("documents", justify="right")
    for each in found:
        fields = each.label
        table.add_row(
            plain(fields.tenant_id),
            plain(each.collection_id),
            "none" if fields.sensitivity is None else fields.sensitivity.name,
            plain(", ".join(sorted(fields.topics))),
            plain(", ".join(f"{name}={value}" for name, value in fields.attributes)),
            f"{each.document_count:,}",
        )
    output.console().print(table)
