"""Parts that some tests need and that may be missing on a machine, by marker."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from faults.power import missing_loop

from support.docker_engine import missing_engine
from support.waiting import COMMAND_SECONDS

CERBOS = "cerbos==0.16.1"
"""A package that owns `buf/validate`; a test installs it."""


def find_program(name: str) -> str | None:
    """A program of this Python environment or of the machine."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


def _programs(*names: str) -> str | None:
    missing = [name for name in names if find_program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _index() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        fetched = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, CERBOS],
            capture_output=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    return None if fetched.returncode == 0 else "pip reaches no package index"


def find_checkov() -> Path | None:
    """checkov has an environment of its own, beside that of the tests."""
    root = Path(__file__).parents[2]
    environments = (root / ".venv-checkov", Path(os.environ.get("VECSEC_TEST_CHECKOV", root / ".venv-checkov")))
    return next((path for each in environments if (path := each / "bin" / "checkov").is_file()), None)


def _kubectl() -> str | None:
    kubectl = find_program("kubectl")
    overlay = Path(__file__).parents[2] / "deploy" / "kubernetes" / "overlays" / "dev"
    if kubectl is None:
        return "not installed: kubectl"
    rendered = subprocess.run(
        [kubectl, "kustomize", str(overlay)], capture_output=True, check=False, timeout=COMMAND_SECONDS
    )
    too_old = b"unknown field" in rendered.stderr and b"components" in rendered.stderr
    return "kubectl is too old for kustomize components" if too_old else None


def _node() -> str | None:
    if missing := _programs("node", "npm"):
        return missing
    npm = find_program("npm")
    assert npm is not None
    reached = subprocess.run([npm, "ping"], capture_output=True, check=False, timeout=COMMAND_SECONDS)
    return None if reached.returncode == 0 else "npm reaches no package registry"


MISSING_PART: dict[str, Callable[[], str | None]] = {
    "checkov": lambda: None if find_checkov() else "not installed: .venv-checkov (deploy/development/checkov makes it)",
    "compose": lambda: _programs("docker-compose"),
    "docker": missing_engine,
    "envoy": lambda: _programs("envoy"),
    "grpcurl": lambda: _programs("grpcurl"),
    "helm": lambda: _programs("helm"),
    "index": _index,
    "jq": lambda: _programs("jq"),
    "kubectl": _kubectl,
    "loop": missing_loop,
    "node": _node,
    "systemd": lambda: _programs("systemd-analyze"),
    "prometheus": lambda: _programs("prometheus", "promtool", "prometheus-alertmanager"),
}
"""For each marker, what is missing on this machine; None if nothing is."""
