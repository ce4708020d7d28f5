"""`run.json`: what a running `vecsec up` tells the other commands."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from vecsec_cli.local import state_files
from vecsec_cli.local.service_settings import Service


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """One service process."""

    pid: int
    address: str
    """Where it answers gRPC, as `host:port`."""
    metrics_url: str
    """Where it answers Prometheus."""


def running_at(service: Service, host: str, pid: int = 0) -> RunningProcess:
    """Where a service of this host answers."""
    return RunningProcess(pid, f"{host}:{service.port}", f"http://{host}:{service.metrics_port}/metrics")


@dataclass(frozen=True, slots=True)
class RunFile:
    """The processes of a running `vecsec up`."""

    pid: int
    services: dict[str, RunningProcess]
    """By short name: gateway, retrieval, policy."""

    @property
    def gateway_address(self) -> str:
        """Where callers connect."""
        return self.services["gateway"].address

    def write(self, path: Path) -> None:
        """Replace the file at once, so that nobody reads half of it."""
        state_files.replace(path, state_files.as_json(asdict(self)))


def read_run_file(path: Path) -> RunFile | None:
    """The running `vecsec up`, or None if there is none: no file, not readable as one, or its process is gone."""
    try:
        values = json.loads(path.read_text())
        services = {name: RunningProcess(**service) for name, service in values["services"].items()}
        run = RunFile(pid=values["pid"], services=services)
        os.kill(run.pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return run if "gateway" in run.services else None
