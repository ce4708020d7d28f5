"""Figures with their goals, as a table on the screen, as JSON, and as a section of BENCHMARKS.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import report


@dataclass(frozen=True)
class Figure:
    """One figure and what it is to be."""

    what: str
    measured: float
    unit: str
    goal: float | None = None
    """At most so much; None where none is set."""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "reached" if self.measured <= self.goal else "**not reached**"

    def shown(self, value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:,.3g} {self.unit}" if value < 1_000 else f"{value:,.0f} {self.unit}"


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("", "measured", "goal, at most", "", title=title)
    for figure in figures:
        table.add_row(figure.what, figure.shown(figure.measured), figure.shown(figure.goal), figure.verdict.strip("*"))
    Console().print(table)


def keep(root: Path, name: str, introduction: str, figures: Sequence[Figure]) -> None:
    """Write the figures as JSON and put them into BENCHMARKS.md, in place of the last ones of this name."""
    rows = "\n".join(
        f"| {each.what} | {each.shown(each.measured)} | {each.shown(each.goal)} | {each.verdict} |" for each in figures
    )
    packages = ", ".join(f"{package} {number}" for package, number in report.versions().items())
    commit, machine = report.describe_commit(root), report.describe_machine()
    section = (
        f"{introduction}\n\n| | measured | goal, at most | |\n| --- | --- | --- | --- |\n{rows}\n\n"
        f"{report.now()}; {machine}; {packages}; commit {commit}.\n"
    )
    report.replace_section(root, name, section)
    content = {"figures": [asdict(each) for each in figures], "machine": machine, "commit": commit}
    (root / "tests" / "bench" / "results" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
