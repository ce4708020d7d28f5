"""`vecsec search`: the nearest documents among those the caller may read."""

from enum import StrEnum
from typing import Annotated

import typer

from vecsec_cli.commands.filter_expressions import parse_filters
from vecsec_cli.commands.search_batch import search_lines
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import CollectionOption, EmbeddingsOption, FilterOption, TenantOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.found import print_results, warn_of_mock
from vecsec_cli.terminal.json_shapes import document_fields, fields_of
from vecsec_cli.terminal.text import plain
from vecsec_client import SearchMode, SearchQuery


class _OldFallback(StrEnum):
    """What `--fallback` took before there was `--allow-mock`; scripts and printed runbooks still say it."""

    MOCK = "mock"
    NONE = "none"


@with_gateway
def search(
    session: GatewaySession,
    *,
    text: Annotated[str, typer.Argument(help="What to look for; left out with --batch.", show_default=False)] = "",
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
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Leave out documents with a lower score.", show_default=False)
    ] = None,
    offset: Annotated[
        int, typer.Option("--offset", help="Leave out so many of the best; with k at most 1,000 together.")
    ] = 0,
    distinct_texts: Annotated[
        bool, typer.Option("--distinct-texts", help="Documents of equal texts once, and others for the rest.")
    ] = False,
    batch: Annotated[
        str,
        typer.Option(
            "--batch",
            metavar="FILE",
            help='Look for each line of a file ("-" for the standard input) instead, up to 32 in one call. All other '
            "options are for each of them.",
            show_default=False,
        ),
    ] = "",
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
    if bool(text) is bool(batch):
        raise CommandFailure("say what to look for: a text, or --batch with a file of texts, and not both")
    condition, mock_allowed = parse_filters(filters or ()), allow_mock or fallback is _OldFallback.MOCK
    if batch:
        query = SearchQuery(
            query="",
            k=k,
            collection=collection,
            filter=condition,
            mode=mode,
            min_score=min_score,
            offset=offset,
            distinct_texts=distinct_texts,
        )
        search_lines(
            session, batch, query, tenant=tenant, allow_mock=mock_allowed, include_embeddings=include_embeddings
        )
        return
    answer = session.client.search(
        text,
        tenant=tenant,
        k=k,
        collection=collection,
        filter=condition,
        mode=mode,
        min_score=min_score,
        offset=offset,
        distinct_texts=distinct_texts,
        allow_mock=mock_allowed,
        include_embeddings=include_embeddings,
    )
    if session.json:
        results = [document_fields(row) for row in answer.results]
        output.print_json({**fields_of(answer), "strategy": answer.strategy or None, "results": results})
    else:
        warn_of_mock(answer)
        print_results(answer.results)
        mode_used = f"{answer.mode} search, " if answer.mode is not None else ""
        how = f", found by {answer.strategy}" if answer.strategy else ""
        output.say(plain(f"{mode_used}policy {answer.policy_version[:12]}, request {answer.request_id}{how}", "dim"))
