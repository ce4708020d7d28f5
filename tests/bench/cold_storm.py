"""All tenants ask at once after a start: an open loop of first searches, a tenant each, by which no caller is answered
with made-up rows."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from bench import load_job
from bench.corpus import make_queries
from bench.findings import Figure, Findings, Task
from bench.load_job import Job
from bench.many_tenants import ROWS, K, load
from bench.metrics_page import MetricsPage
from bench.passages import open_files
from bench.samples import from_first_to_last, summary
from bench.secured import Secured, running
from bench.wire_calls import GrpcCall
from vecsec.gateway.v1 import gateway_service_pb2

MOST_AWAKE = 32
"""As `vecsec_retrieval.memory.budget` has it."""
_RATE = 100
_OF_STORE = ("vecsec_awake_cells", "vecsec_open_cells", "vecsec_store_calls_waiting")
_LOOK_SECONDS = 0.05


def measure(task: Task) -> Findings:
    """Load the tenants, start anew, let all be searched twice at a fixed rate."""
    tenants = task.number("tenants", full=300, quick=40)
    rate = task.number("rate", full=_RATE, quick=_RATE)
    folder = task.folder(f"cold-{tenants}")
    names = [f"cold_{number:04d}" for number in range(tenants)]
    _loaded(folder, names)
    with running(folder, names) as ours:
        calls = [
            may_be_made_up(ours.call(name, query, K)) for name, query in zip(names, make_queries(tenants), strict=True)
        ]
        counts = _Counts(ours)
        with _watched(ours) as most:
            [samples] = load_job.run(Job(calls, K, 2 * tenants / rate, rate=rate)).callers
        seen = summary([from_first_to_last(samples)])
        made_up, failed = counts.since()
    return Findings(
        f"{tenants} tenants of {ROWS} rows each, none of them open, searched in turn at {rate}/s, each twice.",
        [
            Figure("searches answered with made-up rows", made_up, "", 0),
            Figure("searches answered with an error", failed, "", 0),
            Figure("most cells with the store's side open at once", most["vecsec_awake_cells"], "", 2 * MOST_AWAKE),
            Figure("searches: p50", seen.latency.p50, "ms"),
            Figure("searches: p99", seen.latency.p99, "ms", 1_000),
        ],
        details={"searches": asdict(seen), "most": dict(most)},
    )


def _loaded(folder: Path, names: list[str]) -> None:
    marker = folder / "loaded"
    if not marker.exists():
        with running(folder, names) as ours:
            load(ours, names)
        marker.touch()


def may_be_made_up(call: GrpcCall) -> GrpcCall:
    """The search of a caller who takes made-up rows where there are no real ones."""
    request = gateway_service_pb2.SearchDocumentsRequest.FromString(call.request)
    request.fallback = gateway_service_pb2.FALLBACK_MOCK
    return replace(call, request=request.SerializeToString())


class _Counts:
    """What the gateway says of its answers since then."""

    def __init__(self, ours: Secured) -> None:
        self._page = MetricsPage(ours.installation.metrics_port)
        self._before = self._now()

    def since(self) -> tuple[float, float]:
        """How many were made up, and how many errors."""
        made_up, failed = self._now()
        return made_up - self._before[0], failed - self._before[1]

    def _now(self) -> tuple[float, float]:
        def searches(**code: str) -> float:
            return self._page.value("vecsec_requests_total", method="SearchDocuments", **code)

        return self._page.value("vecsec_mock_fallback_total"), searches() - searches(code="OK")


@contextmanager
def _watched(ours: Secured) -> Iterator[Mapping[str, float]]:
    """The most that retrieval was seen to hold open meanwhile."""
    page = MetricsPage(ours.installation.metrics_port + 1)
    most = dict.fromkeys([*_OF_STORE, "files"], 0.0)
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            for name in _OF_STORE:
                most[name] = max(most[name], page.value(name))
            most["files"] = max(most["files"], open_files(ours))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield most
    finally:
        is_over.set()
        watching.join()
