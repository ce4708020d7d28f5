"""Where, when and with what a figure was measured."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("chromadb", "grpcio", "cedarpy", "numpy", "wordllama")


@dataclass(frozen=True)
class Circumstances:
    """What a figure means nothing without."""

    taken_at: str
    machine: str
    commit: str
    versions: dict[str, str]

    @property
    def sentence(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.taken_at}; {self.machine}; {packages}; commit {self.commit}."


def circumstances(root: Path) -> Circumstances:
    """Those of this process, whose code lies in `root`."""
    return Circumstances(
        taken_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=_machine(),
        commit=_commit(root),
        versions={name: version(name) for name in PACKAGES},
    )


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"


def _commit(root: Path) -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"
