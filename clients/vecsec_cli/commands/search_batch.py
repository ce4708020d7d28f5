"""`vecsec search --batch`: a search for each line of a file."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from vecsec_cli.gateway_session import GatewaySession
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.found import print_results, warn_of_mock
from vecsec_cli.terminal.json_shapes import document_fields, fields_of
from vecsec_cli.terminal.text import one_line, plain
from vecsec_client import BatchAnswer, QueryAnswer, SearchQuery

_MOST_QUERIES = 32
_MOST_ROWS = 1_000
"""Of a call."""
_TEXT_WIDTH = 100


def search_lines(
    session: GatewaySession,
    file: str,
    query: SearchQuery,
    *,
    tenant: str | None,
    allow_mock: bool,
    include_embeddings: bool,
) -> None:
    """Look for each line that is not blank as `query` says, in as few calls as possible; what one of them found is
    printed before the next.

    Raises:
        CommandFailure: if the file cannot be read, or has no lines.
        Exit: if some of the queries could not be answered.
    """
    lines = _lines(file)
    some_failed = False
    for texts in _calls_of(lines, query.k + query.offset):
        answer = session.client.search_batch(
            [replace(query, query=text) for text in texts],
            tenant=tenant,
            allow_mock=allow_mock,
            include_embeddings=include_embeddings,
        )
        some_failed |= any(each.failure is not None for each in answer)
        if session.json:
            _print_json(texts, answer)
        else:
            _print(texts, answer)
    if some_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _lines(file: str) -> list[str]:
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailure(f"--batch {file}: cannot be read: {error}") from error
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines:
        raise CommandFailure(f"--batch {file}: has no lines", hint="write one query a line")
    return lines


def _calls_of(lines: Sequence[str], rows_a_query: int) -> Iterator[Sequence[str]]:
    at_once = max(1, min(_MOST_QUERIES, _MOST_ROWS // max(1, rows_a_query)))
    for start in range(0, len(lines), at_once):
        yield lines[start : start + at_once]


def _print_json(texts: Sequence[str], answer: BatchAnswer) -> None:
    """One JSON document a query, in a line of its own."""
    shared = {name: value for name, value in fields_of(answer).items() if name != "answers"}
    for text, each in zip(texts, answer, strict=True):
        results = [document_fields(row) for row in each.results]
        failure = None if each.failure is None else fields_of(each.failure)
        how = {"mode": each.mode, "metric": each.metric, "strategy": each.strategy or None}
        output.print_json_line({**shared, "query": text, "failure": failure, **how, "results": results})


def _print(texts: Sequence[str], answer: BatchAnswer) -> None:
    warn_of_mock(answer)
    for text, each in zip(texts, answer, strict=True):
        output.say(plain(one_line(text, _TEXT_WIDTH), "bold"))
        _print_one(each)
    output.say(plain(f"policy {answer.policy_version[:12]}, request {answer.request_id}", "dim"))


def _print_one(answer: QueryAnswer) -> None:
    if answer.failure is not None:
        output.say(plain(f"not answered: {answer.failure.message}", "red"))
    else:
        print_results(answer.results)
