"""Measure a reload: how long a changed policy takes to be in force, and what requests notice of it.

The policy service runs as a process of its own, as in production, and is asked without a pause meanwhile.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from support.installation import free_ports
from support.issuer import Issuer
from support.stack import bearer

from bench.findings import Figure, Findings, Task
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.policy.v1.policy_service_pb2_grpc import PolicyServiceStub
from vecsec.type.v1 import access_pb2, label_pb2, sensitivity_pb2
from vecsec_policy.settings import PACKAGED_POLICY

TENANTS = 1_000
RULES = 200
_RELOADS = 5
_START_SECONDS = 60.0
_RELOAD_SECONDS = 30.0


INTRODUCTION = (
    f"A policy of {TENANTS:,} tenants and {RULES} rules is changed {_RELOADS} times while one caller plans and checks "
    "without a pause; the slowest of all, the first plan by the new rules among them: with nothing remembered it "
    "specialises all of them, of which here nearly none falls away."
)


def measure(_task: Task) -> Findings:
    """Change a policy several times, under load."""
    with tempfile.TemporaryDirectory(prefix="vecsec-reload-") as name:
        folder = Path(name)
        policy = make_policy(folder / "policy")
        issuer = Issuer(folder / "keys")
        with _running_policy(folder, policy, issuer) as port, grpc.insecure_channel(f"localhost:{port}") as channel:
            caller = _Caller(channel, issuer)
            caller.until_answered()
            reloads = [_reload(policy, caller, number) for number in range(_RELOADS)]
    requests = [each.seconds * 1e3 for _, asked in reloads for each in asked]
    first_plans = [each.seconds * 1e3 for _, asked in reloads for each in asked if each.plans_first]
    figures = [
        Figure("from a changed file to the first check by it", max(seconds for seconds, _ in reloads), "s", 2.0),
        Figure("slowest request meanwhile", max(requests), "ms", 50.0),
        Figure("first plan by the new rules", max(first_plans), "ms"),
        Figure("median of all requests", statistics.median(requests), "ms"),
    ]
    return Findings(INTRODUCTION, figures)


def make_policy(folder: Path) -> Path:
    """The packaged policy with more rules and tenants."""
    shutil.copytree(PACKAGED_POLICY, folder)
    tenants = (
        f"  tenant-{n:04}:\n    topics: [{', '.join(f'topic-{(n + i) % 50}' for i in range(6))}]\n"
        for n in range(TENANTS)
    )
    (folder / "tenants.yaml").write_text("tenants:\n" + "".join(tenants))
    rules = folder / "access.cedar"
    text = rules.read_text()
    more = (
        f'@id("region-{n}")\nforbid (principal, action, resource is Document)\nwhen {{ resource has region && '
        f'resource.region == "region-{n}" && principal.tenant != Tenant::"tenant-{n:04}" }};\n'
        for n in range(RULES - text.count("@id("))
    )
    rules.write_text(text + "\n" + "\n".join(more))
    return folder


@dataclass(frozen=True, slots=True)
class _Request:
    seconds: float
    plans_first: bool = False
    """Whether it is the first plan by another policy version."""


class _Caller:
    """Plans and checks, one request after the other."""

    def __init__(self, channel: grpc.Channel, issuer: Issuer) -> None:
        self._stub = PolicyServiceStub(channel)
        self._metadata = bearer(issuer.token("tenant-0001", "analyst", "INTERNAL"))
        label = label_pb2.Label(
            tenant_id="tenant-0001", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["topic-1"]
        )
        self._planned_by = ""
        self._plan = policy_pb2.PlanAccessRequest(tenant_id="tenant-0001", action=access_pb2.ACTION_READ)
        self._check = policy_pb2.CheckDocumentsRequest(
            tenant_id="tenant-0001", action=access_pb2.ACTION_READ, labels=[label] * 10
        )

    def until_answered(self) -> None:
        self._stub.CheckDocuments(self._check, metadata=self._metadata, timeout=_START_SECONDS, wait_for_ready=True)
        self.ask([])  # the first plan of the process's life belongs to the start, not to a reload

    def ask(self, requests: list[_Request]) -> str:
        """One plan and one check; the version that checked. Their times are added to `requests`."""
        started = time.perf_counter()
        planned_by = self._stub.PlanAccess(self._plan, metadata=self._metadata).policy_version
        planned = time.perf_counter()
        version = self._stub.CheckDocuments(self._check, metadata=self._metadata).policy_version
        requests += [
            _Request(planned - started, plans_first=planned_by != self._planned_by),
            _Request(time.perf_counter() - planned),
        ]
        self._planned_by = planned_by
        return version


def _reload(policy: Path, caller: _Caller, number: int) -> tuple[float, list[_Request]]:
    requests: list[_Request] = []
    before = caller.ask(requests)
    path = policy / "tenants.yaml"
    changed = path.with_name(".next")
    changed.write_text(path.read_text() + f"\n  added-{number}:\n    topics: [rag]\n")
    started = time.perf_counter()
    changed.replace(path)
    while caller.ask(requests) == before:
        if time.perf_counter() - started > _RELOAD_SECONDS:
            raise TimeoutError(f"the change was not in force within {_RELOAD_SECONDS:.0f} seconds")
    seconds = time.perf_counter() - started
    while time.perf_counter() - started < seconds + 0.5:
        caller.ask(requests)
    return seconds, requests


@contextmanager
def _running_policy(folder: Path, policy: Path, issuer: Issuer) -> Iterator[int]:
    port, metrics_port = free_ports(2)
    settings = {
        "VECSEC_POLICY_DIR": policy,
        "VECSEC_ISSUERS_FILE": issuer.issuers_file,
        "VECSEC_GRANT_KEY_FILE": issuer.grant_key_file,
        "VECSEC_AUDIT_FILE": folder / "audit" / "policy.jsonl",
        "VECSEC_POLICY_PORT": port,
        "VECSEC_POLICY_METRICS_PORT": metrics_port,
        "VECSEC_LOG_LEVEL": "error",
    }
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "vecsec_policy"], env=environment, cwd=folder)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()
