"""Parts that some tests need and that may be missing on a machine, by marker."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def find_program(name: str) -> str | None:
    """A program of this Python environment or of the machine."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


def _programs(*names: str) -> str | None:
    missing = [name for name in names if find_program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _docker() -> str | None:
    docker = find_program("docker")
    if docker is None:
        return "not installed: docker"
    answered = subprocess.run([docker, "info"], capture_output=True, check=False, timeout=20).returncode == 0
    return None if answered else "no Docker engine answers"


MISSING_PART: dict[str, Callable[[], str | None]] = {
    "docker": _docker,
    "grpcurl": lambda: _programs("grpcurl"),
    "prometheus": lambda: _programs("prometheus", "promtool", "prometheus-alertmanager"),
}
"""For each marker, what is missing on this machine; None if nothing is."""
