"""`vecsec search`: the nearest documents among those the caller may read."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.panel import Panel
from rich.table import Column
from rich.text import Text

from vecsec_cli.commands.filter_expressions import parse_filters
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import CollectionOption, EmbeddingsOption, FilterOption, TenantOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import document_fields, fields_of
from vecsec_cli.terminal.text import one_line, plain, sensitivity_style
from vecsec_client import ScoredDocument, SearchAnswer, SearchMode

_TEXT_WIDTH = 100


class _OldFallback(StrEnum):
    """What `--fallback` took before there was `--allow-mock`; scripts and printed runbooks still say it."""

    MOCK = "mock"
    NONE = "none"


@with_gateway
def search(
    session: GatewaySession,
    *,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    tenant: TenantOption,
    k: Annotated[int, typer.Option("--k", "-k", help="How many documents to find, 1 to 1,000.")] = 10,
    collection: CollectionOption = "",
    filters: FilterOption = None,
    mode: Annotated[
        SearchMode,
        typer.Option(
            help="By what to find documents: their meaning (vector), their words (text; phrases in double quotes), or "
            "both (hybrid). auto: hybrid, where the store can."
        ),
    ] = SearchMode.AUTO,
    allow_mock: Annotated[
        bool,
        typer.Option(
            "--allow-mock", help="When real retrieval is off or down: made-up rows, labelled as such, and no failure."
        ),
    ] = False,
    fallback: Annotated[_OldFallback | None, typer.Option(hidden=True)] = None,
    include_embeddings: EmbeddingsOption = False,
) -> None:
    """Find the documents that fit best among those the caller may read.

    Real ones, or the command fails and says why (exit status 6).
    """
    answer = session.client.search(
        text,
        tenant=tenant,
        k=k,
        collection=collection,
        filter=parse_filters(filters or ()),
        mode=mode,
        allow_mock=allow_mock or fallback is _OldFallback.MOCK,
        include_embeddings=include_embeddings,
    )
    if session.json:
        results = [document_fields(row) for row in answer.results]
        output.print_json({**fields_of(answer), "strategy": answer.strategy or None, "results": results})
    else:
        _print_table(answer)


def _print_table(answer: SearchAnswer) -> None:
    if not answer.is_real:
        reason = "unknown" if answer.mock_reason is None else answer.mock_reason.value
        warning = plain(f"MADE-UP ROWS, NOT YOUR DATA ({reason}); `--allow-mock` asked for them.", "bold")
        output.console().print(Panel(warning, style="bold white on red"))
    if not answer.results:
        output.say("nothing that you may read matches")
        return
    output.print_table(
        "#",
        "score",
        Column("document", overflow="fold", max_width=26),
        Column("sensitivity", no_wrap=True),
        Column("topics", overflow="fold", max_width=14),
        Column("text", overflow="ellipsis", no_wrap=True, ratio=1),
        rows=[_cells(rank, row) for rank, row in enumerate(answer.results, start=1)],
        expand=True,
    )
    mode = f"{answer.mode} search, " if answer.mode is not None else ""
    how = f", found by {answer.strategy}" if answer.strategy else ""
    output.say(plain(f"{mode}policy {answer.policy_version[:12]}, request {answer.request_id}{how}", "dim"))


def _cells(rank: int, row: ScoredDocument) -> tuple[str | Text, ...]:
    sensitivity, topics = plain(*sensitivity_style(row.sensitivity)), ", ".join(row.topics)
    return str(rank), f"{row.score:.3f}", row.document_id, sensitivity, topics, one_line(row.text, _TEXT_WIDTH)
