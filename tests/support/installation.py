"""A real installation: three processes started by `vecsec up`, used through the `vecsec` command."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.waiting import COMMAND_SECONDS, wait_until

START_SECONDS = 300
STOP_SECONDS = 120
_PORTS_IN_A_ROW = 10
_reservations: list[IO[str]] = []


def vecsec_command() -> str:
    """The `vecsec` of this Python environment."""
    return str(Path(sys.executable).with_name("vecsec"))


@dataclass(frozen=True)
class Installation:
    """A running `vecsec up`."""

    folder: Path
    process: subprocess.Popen[bytes]
    gateway_port: int
    retrieval_port: int
    policy_port: int
    metrics_port: int
    environment: Mapping[str, str]

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def address(self) -> str:
        return f"localhost:{self.gateway_port}"

    def run(
        self, *arguments: str, token: str | None = None, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a `vecsec` command against this installation."""
        environment = dict(self.environment) | {
            "VECSEC_STATE_DIR": str(self.state_dir),
            "VECSEC_GATEWAY": self.address,
        }
        if token is not None:
            environment["VECSEC_TOKEN"] = token
        return subprocess.run(
            [vecsec_command(), *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=check,
            input=stdin,
            timeout=COMMAND_SECONDS,
        )

    def token(self, tenant_id: str, role: str = "analyst", clearance: str = "INTERNAL", subject: str = "alice") -> str:
        """A token, minted as the README says."""
        return self.run(
            *("token", "--tenant", tenant_id, "--role", role, "--clearance", clearance, "--subject", subject)
        ).stdout.strip()

    def import_rows(self, tenant_id: str, rows: list[dict[str, Any]], *options: str) -> dict[str, Any]:
        """Import rows as the tenant's administrator; the answer of `vecsec import --json`."""
        source = self.folder / f"{tenant_id}-{time.monotonic_ns()}.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = self.run(
            *("import", str(source), "--tenant", tenant_id, "--json", *options),
            token=self.token(tenant_id, "admin", "SECRET", "loader"),
        )
        return json.loads(done.stdout)

    def search(self, token: str, tenant_id: str, text: str, k: int = 10, *options: str) -> dict[str, Any]:
        """The answer of `vecsec search --json`."""
        done = self.run("search", text, "--tenant", tenant_id, "--k", str(k), "--json", *options, token=token)
        return json.loads(done.stdout)

    def stop(self) -> int:
        """Stop it as Ctrl-C does; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running_installation(folder: Path, **settings: str) -> Iterator[Installation]:
    """Start `vecsec up --no-demo` with its state in `folder`/state, wait until it serves, and stop it at the end.

    `settings` are environment variables beside those of the test's own environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(6)
    environment = os.environ | settings
    command = [
        vecsec_command(),
        *("up", "--no-demo", "--state-dir", str(folder / "state")),
        *("--gateway-port", str(ports[0]), "--retrieval-port", str(ports[1]), "--policy-port", str(ports[2])),
        *("--metrics-port", str(ports[3])),
    ]
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder)
    installation = Installation(folder, process, *ports[:4], environment)
    try:
        _wait_until_serving(installation, log)
        yield installation
    finally:
        installation.stop()


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on now, and that are given to nobody else while this process lives."""
    assert count <= _PORTS_IN_A_ROW
    folder = Path(tempfile.gettempdir(), f"vecsec-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for first in range(21_000, 29_000, _PORTS_IN_A_ROW):
        ports = list(range(first, first + count))
        if _reserve(folder / str(first)) and _are_free(ports):
            return ports
    raise RuntimeError(f"no {count} free ports in a row between 21000 and 29000")


def _reserve(path: Path) -> bool:
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return False
    _reservations.append(lock)
    return True


def _are_free(ports: list[int]) -> bool:
    try:
        for port in ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _wait_until_serving(installation: Installation, log: Path) -> None:
    process = installation.process
    for name in ("", "vecsec.gateway.policy", "vecsec.gateway.retrieval"):
        wait_until(
            lambda name=name: _is_serving(installation.address, name) or process.poll() is not None,  # type: ignore[misc]
            lambda name=name: f"{name or 'the gateway'} does not serve:\n{log.read_text()}",  # type: ignore[misc]
            seconds=START_SECONDS,
        )
        assert process.poll() is None, f"vecsec up ended with {process.returncode}:\n{log.read_text()}"


def _is_serving(address: str, name: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
