"""What `make bench` shows and keeps: a table of figures and ratios, JSON, and a section of BENCHMARKS.md."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

PACKAGES = ("chromadb", "grpcio", "cedarpy", "numpy", "wordllama")


@dataclass(frozen=True)
class Latency:
    """Quantiles of one side's latencies, in milliseconds."""

    p50: float
    p95: float
    p99: float
    samples: int


def latency(seconds: list[float]) -> Latency:
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(seconds, [50, 95, 99]))
    return Latency(p50, p95, p99, len(seconds))


@dataclass(frozen=True)
class Result:
    """One run."""

    tenants: int
    rows_a_tenant: int
    secured: Latency
    bare: Latency
    recall: float
    """Share of the exact ten nearest visible passages that the secured search returned."""
    load_secured_seconds: float
    load_bare_seconds: float
    taken_at: str
    machine: str
    commit: str
    versions: dict[str, str]

    @property
    def ratio(self) -> float:
        """How many times faster the secured search is, by the median."""
        return self.bare.p50 / self.secured.p50


def describe_machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def describe_commit(root: Path) -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def show(result: Result) -> None:
    """Print the run as a table."""
    table = Table(title=f"{result.tenants} tenants × {result.rows_a_tenant:,} documents, k=10, half the rows visible")
    for column in ("", "p50", "p95", "p99", "searches"):
        table.add_column(column, justify="left" if not column else "right")
    for name, side in (
        ("VecSec: token, plan, search, check, audit", result.secured),
        ("bare ChromaDB, where={'tenant_id': …}", result.bare),
    ):
        table.add_row(name, f"{side.p50:.2f} ms", f"{side.p95:.2f} ms", f"{side.p99:.2f} ms", f"{side.samples}")
    table.add_row("ratio (bare / VecSec)", f"[bold]{result.ratio:.1f}×[/]", "", "", "", end_section=True)
    console = Console()
    console.print(table)
    console.print(
        f"recall@10 of VecSec against brute force: {result.recall:.3f}; loading took "
        f"{result.load_secured_seconds:.0f} s (VecSec) and {result.load_bare_seconds:.0f} s (bare ChromaDB)\n"
        f"{result.machine}; commit {result.commit}"
    )


def keep(result: Result, root: Path, name: str) -> None:
    """Write the run as JSON and put it into BENCHMARKS.md, in place of the last run of this name."""
    folder = root / "tests" / "bench" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(asdict(result) | {"ratio": result.ratio}, indent=2) + "\n")
    replace_section(root, name, _section(result))


def replace_section(root: Path, name: str, section: str) -> None:
    """Put a section into BENCHMARKS.md, in place of the last one of this name."""
    page = root / "BENCHMARKS.md"
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = page.read_text()
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{start}\n{section}{end}{after}")


def _section(result: Result) -> str:
    rows = "\n".join(
        f"| {name} | {side.p50:.2f} ms | {side.p95:.2f} ms | {side.p99:.2f} ms |"
        for name, side in (
            ("VecSec through the gateway (token, plan, search, check, audit)", result.secured),
            ('bare ChromaDB, one shared collection, `where={"tenant_id": …}`', result.bare),
        )
    )
    packages = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    return (
        f"{result.tenants} tenants × {result.rows_a_tenant:,} documents, 256 dimensions, k=10, content returned, "
        f"one caller; half of each tenant's rows are visible to the VecSec caller.\n\n"
        f"| | p50 | p95 | p99 |\n| --- | --- | --- | --- |\n{rows}\n\n"
        f"**{result.ratio:.1f} times faster** by the median; recall@10 {result.recall:.3f} against brute force. "
        f"Loading: {result.load_secured_seconds:.0f} s (VecSec, through the gateway), "
        f"{result.load_bare_seconds:.0f} s (bare).\n\n"
        f"{result.taken_at}; {result.machine}; {packages}; commit {result.commit}.\n"
    )
