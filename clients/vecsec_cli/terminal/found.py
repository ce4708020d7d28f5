"""What searches found, on the screen."""

from collections.abc import Sequence

from rich.panel import Panel
from rich.table import Column
from rich.text import Text

from vecsec_cli.terminal import output
from vecsec_cli.terminal.text import one_line, plain, sensitivity_style
from vecsec_client import BatchAnswer, ScoredDocument, SearchAnswer

_TEXT_WIDTH = 100


def warn_of_mock(answer: SearchAnswer | BatchAnswer) -> None:
    """Say that rows are made up, where they are."""
    if not answer.is_real:
        reason = "unknown" if answer.mock_reason is None else answer.mock_reason.value
        warning = plain(f"MADE-UP ROWS, NOT YOUR DATA ({reason}); `--allow-mock` asked for them.", "bold")
        output.console().print(Panel(warning, style="bold white on red"))


def print_results(results: Sequence[ScoredDocument]) -> None:
    """Print rows as a table, best first."""
    if not results:
        output.say("nothing that you may read matches")
        return
    output.print_table(
        "#",
        "score",
        Column("document", overflow="fold", max_width=26),
        Column("sensitivity", no_wrap=True),
        Column("topics", overflow="fold", max_width=14),
        Column("text", overflow="ellipsis", no_wrap=True, ratio=1),
        rows=[_cells(rank, row) for rank, row in enumerate(results, start=1)],
        expand=True,
    )


def _cells(rank: int, row: ScoredDocument) -> tuple[str | Text, ...]:
    sensitivity, topics = plain(*sensitivity_style(row.sensitivity)), ", ".join(row.topics)
    return str(rank), f"{row.score:.3f}", row.document_id, sensitivity, topics, one_line(row.text, _TEXT_WIDTH)
