"""A site as operators have it: the three services, perhaps a ChromaDB server, Prometheus and Alertmanager, as units."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.certificates import Authority
from support.installation import free_ports, vecsec_command
from support.monitoring import MONITORING, RULE_FILES
from support.parts import find_program
from support.units import Unit, Units
from support.waiting import COMMAND_SECONDS
from vecsec_cli.local import installation
from vecsec_cli.local.service_settings import service_environment, services_of
from vecsec_cli.local.state_directory import StateDirectory

SERVICES = ("policy", "retrieval", "gateway")
JOBS = tuple(f"vecsec-{service}" for service in SERVICES)
GIT_AUTHOR = {
    f"GIT_{role}_{what}": "operator@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
RANGE = "15s"
"""What the test's copy of the rules looks back over, where those of production take five or ten minutes."""
A_MINUTE = 5
"""Seconds that stand for one of those for which it keeps alerts: more than it looks back over, as in production."""


@dataclass(frozen=True)
class Ports:
    """The ports of a site, in a row."""

    first: int

    @property
    def grpc(self) -> dict[str, int]:
        return {"gateway": self.first, "retrieval": self.first + 1, "policy": self.first + 2}

    @property
    def metrics(self) -> dict[str, int]:
        return {"gateway": self.first + 3, "retrieval": self.first + 4, "policy": self.first + 5}

    @property
    def chroma(self) -> int:
        return self.first + 6

    @property
    def prometheus(self) -> int:
        return self.first + 7

    @property
    def alertmanager(self) -> int:
        return self.first + 8


@dataclass(frozen=True)
class Site:
    """A running site."""

    folder: Path
    ports: Ports
    units: Units
    state: StateDirectory
    environment: Mapping[str, str] = field(repr=False)
    """What an operator's shell has."""

    def run(self, *arguments: str, token: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `vecsec` command."""
        return subprocess.run(
            [vecsec_command(), *arguments],
            env={**self.environment, **({} if token is None else {"VECSEC_TOKEN": token})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=check,
            timeout=COMMAND_SECONDS,
        )

    def token(self, tenant_id: str, role: str = "analyst", clearance: str = "INTERNAL", subject: str = "alice") -> str:
        return self.run(
            *("token", "--tenant", tenant_id, "--role", role, "--clearance", clearance, "--subject", subject)
        ).stdout.strip()

    def import_rows(self, tenant_id: str, rows: list[dict[str, Any]]) -> None:
        source = self.folder / f"{tenant_id}-{time.monotonic_ns()}.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.run("import", str(source), "--tenant", tenant_id, token=self.token(tenant_id, "admin", "SECRET", "loader"))

    def metrics(self) -> set[str]:
        """The names of all metrics that the services show now."""
        names = set[str]()
        for port in self.ports.metrics.values():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                names |= {re.split(rb"[{ ]", line)[0].decode() for line in answer if not line.startswith(b"#")}
        return names

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers; nothing while it does not answer."""
        parameters = urllib.parse.urlencode({"query": expression})
        address = f"http://127.0.0.1:{self.ports.prometheus}/api/v1/query?{parameters}"
        try:
            with urllib.request.urlopen(address) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except OSError:
            return []
        return found


@contextmanager
def running_site(
    folder: Path, *, remote_store: bool = False, authority: Authority | None = None, **settings: str
) -> Iterator[Site]:
    """Start the three services, with a ChromaDB server if wanted; `settings` are the services' variables.

    With an authority they speak mutual TLS, by certificates of its.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ports = Ports(free_ports(10)[0])
    state = StateDirectory(folder / "state")
    state.root.mkdir()
    remote = {"CHROMA_CONNECTION_STRING": f"http://127.0.0.1:{ports.chroma}"} if remote_store else {}
    base = dict(os.environ) | remote | settings
    services = services_of(base, ports.grpc, ports.metrics["gateway"])
    installation.prepare(state, base)
    environment = service_environment(base, state, services)
    units = Units(folder / "units")
    if remote_store:
        chroma = [str(find_program("chroma")), "run", "--path", str(folder / "chroma"), "--port", str(ports.chroma)]
        units.define("chromadb", Unit(chroma, base, ports.chroma))
    for service in services:
        tls = {} if authority is None else {k: str(v) for k, v in authority.settings(service.name).items()}
        command = [sys.executable, "-m", service.module]
        units.define(f"vecsec-{service.name}", Unit(command, environment | tls, service.port))
    shell = environment | {
        "VECSEC_STATE_DIR": str(state.root),
        "VECSEC_GATEWAY": f"localhost:{ports.grpc['gateway']}",
        **GIT_AUTHOR,
        **({} if authority is None else {"VECSEC_ROOT_CERTIFICATES": str(authority.ca_file)}),
        "PATH": f"{_with_systemd(folder)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    try:
        for name in (*(["chromadb"] if remote_store else []), *JOBS):
            units.start(name)
        yield Site(folder, ports, units, state, shell)
    finally:
        units.stop_all()


def add_prometheus(site: Site, *, receiver: str | None = None) -> None:
    """Prometheus with our configuration and rules, every second instead of every ten; the rules look back a shorter
    while and wait for nothing. With a `receiver` (an address) also Alertmanager, which tells it of alerts."""
    folder = site.folder / "prometheus"
    (folder / "rules").mkdir(parents=True)
    for path in RULE_FILES:
        hurried = re.sub(r"\bfor: \w+", "for: 0s", path.read_text())
        hurried = re.sub(
            r"keep_firing_for: (\d+)m", lambda kept: f"keep_firing_for: {int(kept[1]) * A_MINUTE}s", hurried
        )
        hurried = re.sub(r"\[(5|10)m\]", f"[{RANGE}]", hurried)
        (folder / "rules" / path.name).write_text(hurried)
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in configuration["scrape_configs"]:
        port = site.ports.metrics[job["job_name"].removeprefix("vecsec-")]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    manager = {"targets": [f"127.0.0.1:{site.ports.alertmanager}"]}
    configuration["alerting"]["alertmanagers"] = [{"static_configs": [manager]}] if receiver else []
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = [
        str(find_program("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{site.ports.prometheus}",
        "--web.enable-lifecycle",
    ]
    site.units.define("prometheus", Unit(command, dict(os.environ), site.ports.prometheus))
    if receiver:
        _add_alertmanager(site, receiver)
    site.units.start("prometheus")


def _add_alertmanager(site: Site, receiver: str) -> None:
    folder = site.folder / "alertmanager"
    folder.mkdir()
    text = (MONITORING / "alertmanager.yml").read_text().replace("http://localhost:9099", receiver)
    hurried = text.replace("group_wait: 10s", "group_wait: 1s").replace("group_interval: 1m", "group_interval: 1s")
    (folder / "alertmanager.yml").write_text(hurried)
    command = [
        str(find_program("prometheus-alertmanager")),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{site.ports.alertmanager}",
        "--cluster.listen-address=",
    ]
    site.units.define("alertmanager", Unit(command, dict(os.environ), site.ports.alertmanager))
    site.units.start("alertmanager")


def _with_systemd(folder: Path) -> Path:
    """A folder with a `systemctl` and a `journalctl` that act on the units of the site."""
    binaries = folder / "bin"
    binaries.mkdir()
    tests = Path(__file__).parents[1]
    for name in ("systemctl", "journalctl"):
        script = binaries / name
        command = f'{sys.executable} -m support.units {folder / "units"} {name} "$@"'
        script.write_text(f"#!/bin/sh\nPYTHONPATH={tests} exec {command}\n")
        script.chmod(0o755)
    return binaries
