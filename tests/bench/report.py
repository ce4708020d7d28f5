"""What `make bench` shows and keeps: tables on the screen, JSON, plots, and its sections of the page of results."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table as ScreenTable

from bench import plots
from bench.circumstances import Circumstances
from bench.findings import Figure, Findings, Table

RESULTS = Path("tests") / "bench" / "results"
"""Below the project's folder."""
PAGE = Path("docs") / "performance" / "results.md"
"""Likewise."""


_FROM_PAGE = "/".join([".."] * len(PAGE.parent.parts))


def show(name: str, findings: Findings) -> None:
    """Print tables and figures."""
    console = Console()
    console.rule(name)
    for table in _tables(findings):
        screen = ScreenTable()
        for number, column in enumerate(table.columns):
            screen.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            screen.add_row(*(cell.replace("**", "").replace("`", "") for cell in row))
        console.print(screen)


def keep(root: Path, name: str, findings: Findings, circumstances: Circumstances) -> None:
    """Write plots and JSON, and put the findings into the page, in place of the last ones of this name."""
    findings = replace(findings, plots=[replace(plot, name=f"{name}-{plot.name}") for plot in findings.plots])
    folder = root / RESULTS
    folder.mkdir(exist_ok=True)
    for plot in findings.plots:
        plots.draw(plot, folder / f"{plot.name}.png")
    content = {
        "figures": [asdict(each) | {"verdict": each.verdict.strip("*")} for each in findings.figures],
        "tables": [asdict(each) for each in findings.tables],
        "plots": [asdict(each) for each in findings.plots],
        **findings.details,
        **asdict(circumstances),
    }
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    page = root / PAGE
    page.write_text(with_section(page.read_text(), name, section(findings, circumstances)))


def keep_goals(root: Path, names: Sequence[str]) -> None:
    """Put every figure that has a goal into one table of the page, from the last full runs of these sections."""
    rows = []
    for name in names:
        file = root / RESULTS / f"{name}.json"
        content = json.loads(file.read_text()) if file.exists() else {"figures": []}
        for kept in content["figures"]:
            figure = Figure(**{key: value for key, value in kept.items() if key != "verdict"})
            if figure.verdict:
                rows.append((name, figure.what, figure.shown(figure.measured), figure.wanted, figure.verdict))
    reached = sum(row[-1] == "reached" for row in rows)
    table = _markdown(Table(("section", "what", "measured", "goal", ""), rows))
    page = root / PAGE
    text = f"{reached} of {len(rows)} goals are reached.\n\n{table}\n"
    page.write_text(with_section(page.read_text(), "goals", text))


def with_section(page: str, name: str, content: str) -> str:
    """The page with this content between the section's marks; a section that it lacks goes to its end."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = page.partition(start)
    if not found:
        return f"{page.rstrip()}\n\n{start}{content}{end}"
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE} has a start of the section {name} and no end")
    return f"{before}{start}{content}{end}{after}"


def section(findings: Findings, circumstances: Circumstances) -> str:
    """The findings in Markdown."""
    parts = [
        findings.introduction,
        *(_markdown(table) for table in _tables(findings)),
        *(f"![{plot.title}]({_FROM_PAGE}/{RESULTS.as_posix()}/{plot.name}.png)" for plot in findings.plots),
        findings.remarks,
        circumstances.sentence,
    ]
    return "".join(f"{part}\n\n" for part in parts if part).rstrip() + "\n"


def _tables(findings: Findings) -> list[Table]:
    return [*findings.tables, *([_figure_table(findings.figures)] if findings.figures else [])]


def _figure_table(figures: Sequence[Figure]) -> Table:
    rows = [(each.what, each.shown(each.measured), each.wanted, each.verdict) for each in figures]
    return Table(("", "measured", "goal", ""), rows)


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
