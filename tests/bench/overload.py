"""More is asked for than can be answered: how much is answered all the same, and what a quiet tenant notices."""

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import grpc

from bench import flood, load_job
from bench.before_the_token import most_resident, resident
from bench.cold_storm import may_be_made_up
from bench.corpus import make_queries
from bench.findings import Figure, Findings, Table, Task
from bench.flood import Flood, Flooded
from bench.latencies import Latency, latency
from bench.load_job import Job
from bench.many_tenants import K, load
from bench.metrics_page import MetricsPage
from bench.secured import Secured, running
from bench.wire_calls import GrpcCall
from vecsec.gateway.v1.gateway_service_pb2 import SearchDocumentsResponse
from vecsec.type.v1.document_pb2 import PROVENANCE_MOCK

QUIET = "quiet_tenant"
LOUD = [f"loud_tenant_{number}" for number in range(4)]
TIMES = (2, 5, 10)
QUIET_RATE = 5
_TIMEOUT_SECONDS = 10.0
_CALLERS = 16
_RECOVERY_SECONDS = 10.0


@dataclass(frozen=True)
class _Asked:
    """A search of the quiet tenant's."""

    due: float
    seconds: float
    outcome: str
    """ok, mock, or a status."""


def measure(task: Task) -> Findings:
    """Learn the capacity, then go beyond it."""
    seconds = task.number("seconds", full=60, quick=8)
    folder = task.folder("overload")
    rows, figures = [], []
    with running(folder, [QUIET, *LOUD]) as ours:
        if not (folder / "loaded").exists():
            load(ours, [QUIET, *LOUD])
            (folder / "loaded").touch()
        queries = make_queries(100)
        loud = [may_be_made_up(ours.call(LOUD[number % len(LOUD)], query, K)) for number, query in enumerate(queries)]
        quiet = [may_be_made_up(ours.call(QUIET, query, K)) for query in queries]
        _capacity(loud, 3)
        capacity = _capacity(loud, task.number("capacity-seconds", full=10, quick=5))
        alone = latency([each.seconds for each in _ask(quiet, task.number("alone-seconds", full=30, quick=8))])
        for times in TIMES:
            run = _Run(ours, loud, quiet, times * capacity, seconds)
            rows.append(run.row(times))
            figures += run.figures(times, capacity, alone.p99)
    return Findings(
        f"An open loop of four tenants at {', '.join(map(str, TIMES))} times the {capacity:,.0f} searches a second "
        f"that {_CALLERS} callers in a closed loop reached, {seconds} s each, by a client that sends frames made "
        f"beforehand; beside it a quiet tenant at {QUIET_RATE}/s, which alone has a p99 of {alone.p99:.1f} ms. All "
        "share the machine's cores.",
        figures,
        [
            Table(
                (
                    "open loop at",
                    "sent",
                    "answered",
                    "refused",
                    "mock",
                    "reset",
                    "unanswered",
                    "limit",
                    "quiet p50",
                    "p99",
                ),
                rows,
            )
        ],
        details={"capacity": capacity, "alone": asdict(alone)},
    )


class _Run:
    """One flood, and what was seen of it."""

    def __init__(
        self, ours: Secured, loud: Sequence[GrpcCall], quiet: Sequence[GrpcCall], rate: float, seconds: float
    ) -> None:
        self._seconds = seconds
        before = resident(ours)
        page = MetricsPage(ours.installation.metrics_port)
        job = Flood(loud, ours.installation.gateway_port, rate, seconds)
        with most_resident(ours) as most, flood.flooding(job) as process:
            time.sleep(1)
            self._asked = _ask(quiet, seconds - 1)
            self.limit = page.value("vecsec_admission_limit")
            self._after = _ask(quiet, _RECOVERY_SECONDS / 2)
            self._flooded: Flooded = flood.result_of(process)
        self._memory = max(most[name] - before[name] for name in before)

    def figures(self, times: int, capacity: float, alone: float) -> list[Figure]:
        name = f"at {times} × capacity"
        flooded, end = self._flooded, self._flooded.started + self._seconds
        answered = sum(moment <= end for moment in flooded.answered) + sum(each.outcome == "ok" for each in self._asked)
        slow = [each for each in self._after if each.outcome != "ok" or each.seconds * 1e3 > 3 * alone]
        back = max((each.due - end for each in slow), default=0.0)
        mock = flooded.made_up + sum(each.outcome == "mock" for each in (*self._asked, *self._after))
        return [
            Figure(f"{name}: answered, of capacity", 100 * answered / self._seconds / capacity, "%", at_least=85),
            Figure(f"{name}: quiet tenant's errors", sum(each.outcome != "ok" for each in self._asked), "", 0),
            Figure(f"{name}: quiet tenant's p99 / alone", self._quiet().p99 / alone, "×", 3),
            Figure(f"{name}: memory, the process with most", self._memory, "MiB", 64),
            Figure(f"{name}: seconds until normal again", max(back, 0.0), "s", 1),
            Figure(f"{name}: made-up answers", mock, "", 0),
            Figure(f"{name}: ended without a status", flooded.reset, "", 0),
        ]

    def row(self, times: int) -> tuple[str, ...]:
        flooded, quiet = self._flooded, self._quiet()
        counts = (
            flooded.sent,
            len(flooded.answered),
            flooded.refused,
            flooded.made_up,
            flooded.reset,
            flooded.unanswered,
        )
        return (
            f"{times} ×",
            *(f"{each:,}" for each in counts),
            f"{self.limit:.0f}",
            f"{quiet.p50:.1f} ms",
            f"{quiet.p99:.1f} ms",
        )

    def _quiet(self) -> Latency:
        return latency([each.seconds for each in self._asked])


def _capacity(calls: Sequence[GrpcCall], seconds: float) -> float:
    callers = load_job.run(Job(calls, K, seconds, callers=_CALLERS)).callers
    return sum(len(each) for each in callers) / seconds


def _ask(calls: Sequence[GrpcCall], seconds: float) -> list[_Asked]:
    """Search at the quiet tenant's pace, whatever answers take."""
    asked: list[_Asked] = []
    with grpc.insecure_channel(calls[0].address) as channel:
        method = channel.unary_unary(calls[0].method)
        threads = []
        start = time.monotonic()
        for number in range(int(seconds * QUIET_RATE)):
            due = start + number / QUIET_RATE
            time.sleep(max(0.0, due - time.monotonic()))
            threads.append(threading.Thread(target=_ask_once, args=(method, calls[number % len(calls)], due, asked)))
            threads[-1].start()
        for thread in threads:
            thread.join()
    return asked


def _ask_once(
    method: "grpc.UnaryUnaryMultiCallable[bytes, bytes]", call: GrpcCall, due: float, asked: list[_Asked]
) -> None:
    try:
        answer = method(call.request, metadata=tuple(call.metadata.items()), timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        outcome = error.code().name
    else:
        is_mock = SearchDocumentsResponse.FromString(answer).provenance == PROVENANCE_MOCK
        outcome = "mock" if is_mock else "ok"
    asked.append(_Asked(due, time.monotonic() - due, outcome))
