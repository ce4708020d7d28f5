"""`vecsec search`: the nearest documents among those the caller may read."""

from typing import Annotated

import typer
from rich.panel import Panel
from rich.table import Table

from vecsec_cli.commands.filter_expressions import parse_filters
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import CollectionOption, TenantOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import document_fields
from vecsec_cli.terminal.text import one_line, plain, sensitivity_style
from vecsec_client import Fallback, SearchAnswer

_TEXT_WIDTH = 100


@with_gateway
def search(
    session: GatewaySession,
    *,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    tenant: TenantOption,
    k: Annotated[int, typer.Option("--k", "-k", help="How many documents to find, 1 to 1,000.")] = 10,
    collection: CollectionOption = "",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="A condition on the metadata: key=value, or key>=n, key>n, key<=n, key<n for numbers. "
            'Repeated conditions must all hold. A value in quotes ("3") is a text.',
        ),
    ] = None,
    fallback: Annotated[
        Fallback, typer.Option(help="When real retrieval is off or down: made-up rows labelled as such, or a failure.")
    ] = Fallback.MOCK,
    include_embeddings: Annotated[
        bool, typer.Option("--include-embeddings", help="Also the vectors; for roles that may configure.")
    ] = False,
) -> None:
    """Find the nearest documents among those the caller may read."""
    answer = session.client.search(
        text,
        tenant=tenant,
        k=k,
        collection=collection,
        filter=parse_filters(filters or ()),
        fallback=fallback,
        include_embeddings=include_embeddings,
    )
    if session.json:
        output.print_json(answer_fields(answer))
    else:
        _print_table(answer)


def answer_fields(answer: SearchAnswer) -> dict[str, object]:
    """A search's answer as `--json` prints it."""
    return {
        "provenance": answer.provenance.value,
        "mock_reason": None if answer.mock_reason is None else answer.mock_reason.value,
        "metric": answer.metric.value,
        "policy_version": answer.policy_version,
        "request_id": answer.request_id,
        "strategy": answer.strategy or None,
        "results": [
            {"score": row.score, "provenance": row.provenance.value, **document_fields(row)} for row in answer.results
        ],
    }


def _print_table(answer: SearchAnswer) -> None:
    console = output.console()
    if not answer.is_real:
        reason = "unknown" if answer.mock_reason is None else answer.mock_reason.value
        warning = plain(f"MADE-UP ROWS, NOT YOUR DATA ({reason}). `--fallback none` refuses them.", "bold")
        console.print(Panel(warning, style="bold white on red"))
    if not answer.results:
        output.say("nothing that you may read matches")
        return
    table = Table("#", "score", header_style="bold", expand=True)
    table.add_column("document", overflow="fold", max_width=26)
    table.add_column("sensitivity", no_wrap=True)
    table.add_column("topics", overflow="fold", max_width=14)
    table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=1)
    for rank, row in enumerate(answer.results, start=1):
        table.add_row(
            str(rank),
            f"{row.score:.3f}",
            plain(row.document_id),
            plain(*sensitivity_style(row.sensitivity)),
            plain(", ".join(row.topics)),
            plain(one_line(row.text, _TEXT_WIDTH)),
        )
    console.print(table)
    how = f", found by {answer.strategy}" if answer.strategy else ""
    output.say(plain(f"policy {answer.policy_version[:12]}, request {answer.request_id}{how}", "dim"))
