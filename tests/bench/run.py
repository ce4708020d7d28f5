"""Measure VecSec beside bare ChromaDB on the same data, section by section."""

import argparse
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench import report
from bench.circumstances import circumstances
from bench.findings import Section, Task
from bench.sections import SECTIONS

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [section.name for section in SECTIONS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="SECTION", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small data, and only the sections made for it")
    parser.add_argument("--data", type=Path, help="a folder that keeps what was loaded, for the next run")
    parser.add_argument(
        "--set", nargs="+", type=_number, default=[], metavar="NAME=NUMBER", help="a size, such as tenants=10000"
    )
    parser.add_argument(
        "--show-only", action="store_true", help="write neither results nor docs/performance/results.md"
    )
    options = parser.parse_args()
    chosen = [each for each in SECTIONS if each.name in (options.only or names)]
    if options.quick and not options.only:
        chosen = [each for each in chosen if each.in_quick]
    with tempfile.TemporaryDirectory(prefix="vecsec-bench-") as temporary:
        data = options.data.resolve() if options.data else Path(temporary)
        _measure(chosen, Task(options.quick, data, dict(options.set)), show_only=options.show_only)


def _measure(sections: list[Section], task: Task, *, show_only: bool) -> None:
    for section in sections:
        started, load_average = time.monotonic(), os.getloadavg()[0]
        findings = section.measure(task)
        name = f"{section.name}-quick" if task.is_quick else section.name
        report.show(name, findings)
        if not show_only:
            report.keep(ROOT, name, findings, circumstances(ROOT, load_average))
            report.keep_goals(ROOT, [each.name for each in SECTIONS])
        Console().print(f"{name} took {time.monotonic() - started:.0f} s")


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    return name, int(number)
