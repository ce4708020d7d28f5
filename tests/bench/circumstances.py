"""Where, when and with what a figure was measured."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("chromadb", "grpcio", "cedarpy", "numpy", "wordllama")
_RESULTS = ("docs/performance/results.md", "tests/bench/results")
"""What a run writes itself."""


@dataclass(frozen=True)
class Circumstances:
    """What a figure means nothing without."""

    taken_at: str
    machine: str
    commit: str
    versions: dict[str, str]
    load_average: float
    """Of the minute before: how many processes wanted a core. Above a tenth or two, others were at work, too."""

    @property
    def sentence(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.taken_at}; {self.machine}; {packages}; commit {self.commit}; load average before the run "
            f"{self.load_average:.1f}."
        )


def circumstances(root: Path, load_average: float) -> Circumstances:
    """Those of this process, whose code lies in `root`, and of the minute before the measurement."""
    return Circumstances(
        taken_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=_machine(),
        commit=commit_of(root),
        versions={name: version(name) for name in PACKAGES},
        load_average=load_average,
    )


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def commit_of(root: Path) -> str:
    """The commit that is checked out, marked where other files than the benchmark's own results differ from it."""
    commit = _git(root, "rev-parse", "--short", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", ".", *(f":!{path}" for path in _RESULTS))
    return f"{commit}-dirty" if commit and changed else commit or "unknown"


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
