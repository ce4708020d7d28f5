"""How long planning and checking take inside the policy service: its use cases with real rules, signatures and audit
log, without the wire."""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from support.issuer import Issuer

from bench.findings import Figure, Findings, Task
from vecsec_chassis.auth.grants import GrantSigner
from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.audit.log import LogSettings
from vecsec_policy.audit.writer import running_audit_file
from vecsec_policy.cedar.engine import CedarEngine
from vecsec_policy.in_force.snapshot import PolicyAssignment, PolicyInForce, load_snapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.settings import PACKAGED_POLICY
from vecsec_policy.shadow.counts import ShadowCounts
from vecsec_policy.shadow.shadow import ShadowEvaluator
from vecsec_policy.use_cases.decisions import EntryGate, RowChecker
from vecsec_policy.use_cases.plan_access import AccessPlanner

INTRODUCTION = (
    "Planning and checking inside the policy service, without the wire: the packaged policy, real signatures, the "
    "audit log written. Medians; *cold* is a caller whom the service has not seen, *of a kind* are callers of "
    "one role, tenant and clearance, *labels* are distinct."
)

TENANT = "tenant_a"
TOPICS = ("rag", "retrieval", "langchain", "marketing")
_KEPT_BYTES, _KEPT_FILES = 512 * 1024 * 1024, 2


class PolicyBench:
    """The use cases, and callers who were never seen before."""

    def __init__(self, engine: CedarEngine, planner: AccessPlanner, checker: RowChecker) -> None:
        self.engine = engine
        self._planner = planner
        self._checker = checker
        self._numbers = itertools.count()

    def somebody_new(self) -> Identity:
        number = next(self._numbers)
        return Identity(f"user-{number}", TENANT, "analyst", Sensitivity.INTERNAL, "bench", time.time() + 3_600)

    async def plan(self, identity: Identity) -> None:
        await self._planner.plan(identity, TENANT, Action.READ)

    async def check(self, identity: Identity, labels: list[Label]) -> None:
        await self._checker.check(identity, TENANT, Action.READ, Counter(labels), planned_policy_version="")


def measure(_task: Task) -> Findings:
    """All figures of planning and checking."""
    with tempfile.TemporaryDirectory(prefix="vecsec-bench-") as folder, _running(Path(folder)) as bench:
        figures = [
            Figure("plan, cold, first caller of a kind", _milliseconds(_plans_cold(bench, alone=True)), "ms", 1.5),
            Figure("plan, cold", _milliseconds(_plans_cold(bench)), "ms", 1.5),
            Figure("plan, cached", _microseconds(_plans_cached(bench)), "µs", 50),
            Figure("check of 10 rows, labels seen before", _microseconds(_checks(bench, 10, 3_000)), "µs", 60),
            Figure("check of 10 rows, 10 labels not seen before", _milliseconds(_checks_cold(bench, 10, 100)), "ms"),
            Figure("check of 1,000 rows, labels seen before", _milliseconds(_checks(bench, 1_000, 50)), "ms"),
            Figure("check of 1,000 labels, cold", _milliseconds(_checks_cold(bench, 1_000, 15)), "ms", 60),
        ]
    return Findings(INTRODUCTION, figures)


def _plans_cold(bench: PolicyBench, *, alone: bool = False) -> list[float]:
    async def run() -> list[float]:
        seconds = []
        for caller in [bench.somebody_new() for _ in range(300)]:
            if alone:
                bench.engine._residuals.clear()
            started = time.perf_counter()
            await bench.plan(caller)
            seconds.append(time.perf_counter() - started)
        return seconds

    return asyncio.run(run())


def _plans_cached(bench: PolicyBench) -> list[float]:
    caller = bench.somebody_new()

    async def run() -> list[float]:
        seconds = []
        for _ in range(3_000):
            started = time.perf_counter()
            await bench.plan(caller)
            seconds.append(time.perf_counter() - started)
        return seconds[100:]

    return asyncio.run(run())


def _checks(bench: PolicyBench, rows: int, times: int) -> list[float]:
    caller, labels = bench.somebody_new(), _labels(rows, "seen")

    async def run() -> list[float]:
        await bench.check(caller, labels)
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            await bench.check(caller, labels)
            seconds.append(time.perf_counter() - started)
        return seconds

    return asyncio.run(run())


def _checks_cold(bench: PolicyBench, rows: int, times: int) -> list[float]:
    caller = bench.somebody_new()

    async def run() -> list[float]:
        seconds = []
        for number in range(times):
            labels = _labels(rows, f"cold-{number}")
            started = time.perf_counter()
            await bench.check(caller, labels)
            seconds.append(time.perf_counter() - started)
        return seconds

    return asyncio.run(run())


def _labels(count: int, kind: str) -> list[Label]:
    """Labels of rows that a plan would let through, an owner each."""
    return [
        Label(
            TENANT,
            Sensitivity(1 + number % 2),
            frozenset({TOPICS[number % len(TOPICS)]}),
            (("owner", f"{kind}-{number}@example.com"),),
        )
        for number in range(count)
    ]


@contextmanager
def _running(folder: Path) -> Iterator[PolicyBench]:
    meter = MeterProvider().get_meter("bench")
    metrics = PolicyMetrics(meter)
    signer = GrantSigner.from_file(Issuer(folder / "issuer").grant_key_file)
    log = LogSettings(folder / "audit" / "policy.jsonl", "bench", _KEPT_BYTES, _KEPT_FILES)
    with running_audit_file(log, metrics) as audit_file:
        policy = load_snapshot(PACKAGED_POLICY)
        in_force = PolicyInForce(PolicyAssignment(policy))
        gate = EntryGate(in_force, metrics, audit_file.append)
        shadow = ShadowEvaluator(in_force, audit_file.append, ShadowCounts(meter))
        yield PolicyBench(
            policy.engine,
            AccessPlanner(gate, metrics, shadow, RecentPlans(), sign=signer.sign, grant_seconds=60),
            RowChecker(gate, metrics, shadow),
        )


def _milliseconds(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e3


def _microseconds(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6
