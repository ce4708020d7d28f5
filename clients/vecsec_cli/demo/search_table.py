"""A search of the demonstration as a table: what a caller saw, beside what the tenant's admin sees, and why rows are
missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vecsec_cli.demo.guided_searches import DemoCaller, GuidedSearch
from vecsec_cli.terminal.text import one_line, plain, sensitivity_style
from vecsec_client import ScoredDocument, SearchAnswer, Sensitivity, VecSecError

_TEXT_WIDTH = 60
_SHOWN_WITHHELD = 5
_RISING = tuple(Sensitivity)


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row of the admin's view or of the caller's."""

    row: ScoredDocument
    withheld_because: str
    """Empty if the caller sees it."""


def compare(
    caller: DemoCaller, seen: Sequence[ScoredDocument], all_rows: Sequence[ScoredDocument]
) -> list[ComparedRow]:
    """The rows that the caller sees, among those nearer ones that only the admin sees; nearest first.

    Args:
        caller: who searched.
        seen: what the caller got.
        all_rows: what the tenant's admin got for the same query.
    """
    visible = {row.document_id for row in seen}
    farthest_seen = min((row.score for row in seen), default=-1.0)
    withheld = [row for row in all_rows if row.document_id not in visible and row.score >= farthest_seen]
    compared = [ComparedRow(row, "") for row in seen]
    compared += [ComparedRow(row, _reason(caller, row)) for row in withheld]
    return sorted(compared, key=lambda each: -each.row.score)


def _reason(caller: DemoCaller, row: ScoredDocument) -> str:
    """Why the default rules withhold a row of the caller's own tenant."""
    if row.tenant_id != caller.tenant_id:
        return "belongs to another tenant"
    if row.sensitivity is None or _RISING.index(row.sensitivity) > _RISING.index(caller.clearance):
        return f"above the clearance {caller.clearance}"
    return f"a topic of {', '.join(row.topics)} is outside the tenant's scope"


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
