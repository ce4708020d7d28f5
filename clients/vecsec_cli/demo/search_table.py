"""A search of the demonstration as a table."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vecsec_cli.demo.comparison import ComparedRow
from vecsec_cli.demo.guided_searches import GuidedSearch
from vecsec_cli.terminal.text import one_line, plain, sensitivity_style
from vecsec_client import SearchAnswer, Sensitivity, VecSecError

_TEXT_WIDTH = 60
_SHOWN_WITHHELD = 5


def answered(number: int, search: GuidedSearch, answer: SearchAnswer, rows: Sequence[ComparedRow]) -> RenderableType:
    """What the caller saw and could not see."""
    # What is short keeps its width; ids, topics and texts share the rest, so that 80 columns show something of each.
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("", width=1)
    table.add_column("document", ratio=4, no_wrap=True)
    table.add_column("sensitivity", width=max(len(each.name) for each in Sensitivity), no_wrap=True)
    table.add_column("topics", ratio=3, no_wrap=True)
    table.add_column("score", justify="right", width=5)
    table.add_column("text, or why it is withheld", ratio=6, no_wrap=True)
    for each in _shortened(rows):
        table.add_row(*_cells(each))
    seen = sum(not each.withheld_because for each in rows)
    withheld = len(rows) - seen
    summary = f"{seen} rows seen, {withheld} nearer ones withheld" if withheld else f"{seen} rows seen, none withheld"
    origin = "" if answer.is_real else f"; these rows are made up ({answer.mock_reason})"
    return Group(_heading(number, search), table, plain(f"{summary}{origin}", "dim"), Text())


def refused(number: int, search: GuidedSearch, error: VecSecError) -> RenderableType:
    """That the caller got nothing."""
    verdict = plain(f"refused: {error.code.name} {error.reason}", "red")
    return Group(_heading(number, search), verdict, plain(error.message, "dim"), Text())


def _shortened(rows: Sequence[ComparedRow]) -> list[ComparedRow]:
    """All rows that are seen, and the nearest of those that are not."""
    nearest_withheld = [each for each in rows if each.withheld_because][:_SHOWN_WITHHELD]
    return [each for each in rows if not each.withheld_because or each in nearest_withheld]


def _heading(number: int, search: GuidedSearch) -> Text:
    return plain(f"{number}. {search.caller} searches {search.tenant_id} for “{search.query}”\n", "bold") + plain(
        search.lesson, "italic"
    )


def _cells(compared: ComparedRow) -> tuple[Text, ...]:
    row = compared.row
    name, style = sensitivity_style(row.sensitivity)
    seen = not compared.withheld_because
    dim = "" if seen else "dim"
    return (
        plain("✓", "green") if seen else plain("✗", "red"),
        plain(row.document_id, dim),
        plain(name, style),
        plain(", ".join(row.topics), dim),
        plain(f"{row.score:.2f}", dim),
        plain(one_line(" ".join(row.text.split()), _TEXT_WIDTH)) if seen else plain(compared.withheld_because, "red"),
    )
