"""Measure a reload: how long a changed policy takes to be in force, and what requests notice of it.

The policy service runs as a process of its own, as in production, and is asked without a pause meanwhile.
"""

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
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
from vecsec.type.v1 import access_pb2, label_pb2, sensitivity_pb2, value_pb2
from vecsec_policy.settings import PACKAGED_POLICY

TENANTS = 1_000
RULES = 200
_RELOADS = 5
_START_SECONDS = 60.0
_ROWS_OF_A_CHECK = 1_000
_RELOAD_SECONDS = 30.0


_CALLERS = 8
"""Of a tenant each, asking in turn. As many more come only when a change is in force."""
_REMEMBERED_LABELS = 10_000
_STILL_SECONDS = 8.0

INTRODUCTION = (
    f"A policy of {TENANTS:,} tenants and {RULES} rules is changed {_RELOADS} times while {_CALLERS} callers of a "
    f"tenant each plan and check in turn, without a pause; the service has {_REMEMBERED_LABELS:,} verdicts to forget. "
    f"Before that the same for {_STILL_SECONDS:.0f} s without a change, which shows what is the machine's and not the "
    "reload's. *New* are callers of tenants for whom nobody asked before: for them the rules, of which nearly none "
    "falls away here, are specialised when they ask, reload or not."
)


def measure(_task: Task) -> Findings:
    """Change a policy several times, under load."""
    with tempfile.TemporaryDirectory(prefix="vecsec-reload-") as name:
        folder = Path(name)
        policy = make_policy(folder / "policy")
        issuer = Issuer(folder / "keys")
        with _running_policy(folder, policy, issuer) as port, grpc.insecure_channel(f"localhost:{port}") as channel:
            load = _Load(PolicyServiceStub(channel), issuer)
            load.warm_up()
            still, still_new = load.ask_for(_STILL_SECONDS), load.ask_as_others()
            reloads = [_reload(policy, load, number) for number in range(_RELOADS)]
    requests = [each for reload in reloads for each in reload.requests]
    new = [each for reload in reloads for each in reload.new]
    figures = [
        Figure("from a changed file to the first check by it", max(each.seconds for each in reloads), "s", 2.0),
        Figure("slowest request meanwhile", _slowest(requests), "ms", 50.0),
        Figure("slowest request without a reload", _slowest(still), "ms"),
        Figure("slowest first plan by the new rules", _slowest([each for each in requests if each.plans_first]), "ms"),
        Figure("slowest request of new callers after a reload", _slowest(new), "ms"),
        Figure("slowest request of new callers without a reload", _slowest(still_new), "ms"),
        Figure("median of all requests", statistics.median(each.seconds for each in requests) * 1e3, "ms"),
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
    """Whether it is the caller's first plan by another policy version."""


def _slowest(requests: Sequence[_Request]) -> float:
    return max(each.seconds for each in requests) * 1e3


class _Caller:
    """Plans and checks, one request after the other."""

    def __init__(self, stub: PolicyServiceStub, issuer: Issuer, tenant: int) -> None:
        self._stub = stub
        self._tenant_id = f"tenant-{tenant:04}"
        self._metadata = bearer(issuer.token(self._tenant_id, "analyst", "INTERNAL"))
        self._topic = f"topic-{tenant % 50}"
        self._planned_by = ""
        self._plan = policy_pb2.PlanAccessRequest(tenant_id=self._tenant_id, action=access_pb2.ACTION_READ)
        self._check = self._check_of([self._label()] * 10)

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

    def until_answered(self) -> None:
        self._stub.PlanAccess(self._plan, metadata=self._metadata, timeout=_START_SECONDS, wait_for_ready=True)

    def check_many(self, count: int) -> None:
        """Check rows that have an owner each, so that the service remembers as many verdicts."""
        for start in range(0, count, _ROWS_OF_A_CHECK):
            labels = [self._label(f"owner-{number}") for number in range(start, start + _ROWS_OF_A_CHECK)]
            self._stub.CheckDocuments(self._check_of(labels), metadata=self._metadata)

    def _check_of(self, labels: Sequence[label_pb2.Label]) -> policy_pb2.CheckDocumentsRequest:
        return policy_pb2.CheckDocumentsRequest(tenant_id=self._tenant_id, action=access_pb2.ACTION_READ, labels=labels)

    def _label(self, owner: str = "") -> label_pb2.Label:
        return label_pb2.Label(
            tenant_id=self._tenant_id,
            sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC,
            topics=[self._topic],
            attributes={"owner": value_pb2.Value(string_value=owner)} if owner else {},
        )


class _Load:
    """Callers who ask in turn."""

    def __init__(self, stub: PolicyServiceStub, issuer: Issuer) -> None:
        self._callers = [_Caller(stub, issuer, number) for number in range(_CALLERS)]
        self._others = (_Caller(stub, issuer, number) for number in range(_CALLERS, TENANTS))
        self._turns = itertools.cycle(self._callers)

    def warm_up(self) -> None:
        """What is the first of the process's life belongs to the start, not to a reload."""
        self._callers[0].until_answered()
        for caller in self._callers:
            caller.ask([])
        self.remember_much()

    def remember_much(self) -> None:
        """Have the service remember much that a change makes it forget."""
        self._callers[0].check_many(_REMEMBERED_LABELS)

    def ask(self, requests: list[_Request]) -> str:
        """One caller plans and checks; the version that checked."""
        return next(self._turns).ask(requests)

    def ask_for(self, seconds: float) -> list[_Request]:
        """Ask for so long."""
        requests: list[_Request] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.ask(requests)
        return requests

    def ask_as_others(self) -> list[_Request]:
        """Ask as callers of tenants that nobody asked for before."""
        requests: list[_Request] = []
        for caller in itertools.islice(self._others, _CALLERS):
            caller.ask(requests)
        return requests


@dataclass(frozen=True, slots=True)
class _Reload:
    seconds: float
    """Until the change was in force."""
    requests: list[_Request]
    new: list[_Request]
    """Of callers who asked for the first time, when it was in force."""


def _reload(policy: Path, load: _Load, number: int) -> _Reload:
    load.remember_much()
    requests: list[_Request] = []
    before = load.ask(requests)
    path = policy / "tenants.yaml"
    changed = path.with_name(".next")
    changed.write_text(path.read_text() + f"\n  added-{number}:\n    topics: [rag]\n")
    started = time.perf_counter()
    changed.replace(path)
    while load.ask(requests) == before:
        if time.perf_counter() - started > _RELOAD_SECONDS:
            raise TimeoutError(f"the change was not in force within {_RELOAD_SECONDS:.0f} seconds")
    seconds = time.perf_counter() - started
    requests += load.ask_for(seconds)
    return _Reload(seconds, requests, load.ask_as_others())


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
