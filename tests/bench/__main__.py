"""Measure VecSec beside bare ChromaDB on the same data, section by section."""

import argparse
import time
from pathlib import Path

from rich.console import Console

from bench import report
from bench.circumstances import circumstances
from bench.findings import Task
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
    parser.add_argument("--show-only", action="store_true", help="write neither results nor BENCHMARKS.md")
    options = parser.parse_args()
    task = Task(options.quick, options.data and options.data.resolve(), dict(options.set))
    for section in SECTIONS:
        if section.name not in options.only if options.only else options.quick and not section.in_quick:
            continue
        started = time.monotonic()
        findings = section.measure(task)
        name = f"{section.name}-quick" if options.quick else section.name
        report.show(name, findings)
        if not options.show_only:
            report.keep(ROOT, name, findings, circumstances(ROOT))
        Console().print(f"{name} took {time.monotonic() - started:.0f} s")


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    return name, int(number)


if __name__ == "__main__":
    main()
