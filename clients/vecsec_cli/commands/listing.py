"""`vecsec list` and `vecsec count`."""

from itertools import islice
from typing import Annotated

import typer
from rich.table import Column

from vecsec_cli.commands.filter_expressions import parse_filters
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import CollectionOption, FilterOption, TenantOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import document_fields
from vecsec_cli.terminal.text import counted, one_line, plain, sensitivity_style

_TEXT_WIDTH = 200


@with_gateway
def list_documents(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    collection: CollectionOption = "",
    filters: FilterOption = None,
    limit: Annotated[int, typer.Option(min=0, help="So many at most; 0 lists all.")] = 100,
) -> None:
    """List documents that the caller may read, by id; --json prints one document a line."""
    condition = parse_filters(filters or ())
    found = session.client.iter_documents(tenant=tenant, collection=collection, filter=condition)
    if session.json:
        for document in islice(found, limit or None):
            output.print_json_line(document_fields(document))
        return
    count = session.client.count_documents(tenant=tenant, collection=collection, filter=condition)
    shown = list(islice(found, limit or None))
    if shown:
        output.print_table(
            Column("document", overflow="fold", max_width=40),
            Column("sensitivity", no_wrap=True),
            Column("topics", overflow="fold", max_width=20),
            Column("text", overflow="ellipsis", no_wrap=True, ratio=1),
            rows=[
                (
                    each.document_id,
                    plain(*sensitivity_style(each.sensitivity)),
                    ", ".join(each.topics),
                    one_line(each.text, _TEXT_WIDTH),
                )
                for each in shown
            ],
            expand=True,
        )
    rest = "; --limit 0 lists all" if count > len(shown) else ""
    output.say(f"{len(shown):,} of {counted(count)}{rest}")


@with_gateway
def count(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    collection: CollectionOption = "",
    filters: FilterOption = None,
) -> None:
    """Count the documents that the caller may read."""
    found = session.client.count_documents(tenant=tenant, collection=collection, filter=parse_filters(filters or ()))
    if session.json:
        output.print_json({"document_count": found})
    else:
        output.say(counted(found))
