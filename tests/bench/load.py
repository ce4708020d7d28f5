"""How much is answered: a closed loop of eight callers beside the bare server, and open loops of fixed rates."""

import random
from collections.abc import Mapping
from dataclasses import asdict

from rich.progress import track

from bench import h2load, sides
from bench.corpus import Model, make_queries
from bench.findings import Figure, Findings, Line, Plot, Table, Task
from bench.metrics_page import MetricsPage
from bench.processes import SERVICES, service_pids
from bench.samples import Summary
from bench.searches import QUERIES, K
from bench.sides import OURS, SERVER, Sides, Size
from bench.under_load import CALLERS, H2LOAD, PYTHON, UnderLoad

SHARES = (0.25, 0.5, 0.75, 0.9)
CLIENTS = (H2LOAD, PYTHON) if h2load.is_present() else (PYTHON,)
"""The first one's throughput is what the goals are held against."""
_PREPARED = 2_000
_REMARKS = (
    "h2load is a client in C, eight processes of it, each of which repeats one search of one tenant in a turn; the "
    "Python client (grpc.aio, httpx; one process) asks for another tenant and text each time and looks into each "
    "answer. Both share the two cores with what they measure. The open loop sends at a fixed rate, whatever answers "
    "take, and counts from the moment at which a search was due, so that nobody's waiting is left out; its rates are "
    "shares of what the Python client reached in the closed loop."
)


def measure(task: Task) -> Findings:
    """Load all sides; closed loops in turns, then open loops at shares of what the closed one reached."""
    size = Size.of(task)
    seconds = task.number("seconds", full=5, quick=3)
    with sides.running(task, size) as running:
        loaded = _prepared(running, size)
        refused = _Refused(running)
        generator = random.Random("tenants")
        for _ in track(range(task.number("turns", full=3, quick=1)), "closed loops in turns"):
            for client in CLIENTS:
                for side in loaded.values():
                    side.closed_loop(client, seconds, generator)
        reached = loaded[OURS].summary(PYTHON).rate
        open_loops = {
            share: loaded[OURS].open_loop(share * reached, task.number("open-seconds", full=10, quick=3))
            for share in track(SHARES, "open loops")
        }
        refused_count = refused.count()
    closed = {(side, client): each.summary(client) for side, each in loaded.items() for client in CLIENTS}
    errors = sum(each.errors for each in (*closed.values(), *open_loops.values()))
    ours, server = closed[OURS, CLIENTS[0]], closed[SERVER, CLIENTS[0]]
    return Findings(
        f"{size.sentence} {sides.THEY_ARE} {CALLERS} callers in the closed loops, in turns of {seconds} s.",
        [
            Figure("VecSec, searches a second", ours.rate, "/s", at_least=1_000),
            Figure(
                "searches a second, VecSec / ChromaDB server without a filter", ours.rate / server.rate, "×", at_least=1
            ),
            Figure("searches unanswered, or answered with too few rows", errors, "", 0),
            Figure("searches that the gateway answered with an error", refused_count, "", 0),
        ],
        [_closed_table(closed), _cpu_table(loaded), _open_table(open_loops, reached)],
        [_plot(open_loops, reached)],
        remarks=_REMARKS,
        details={
            "closed": {f"{side}, {client}": asdict(each) for (side, client), each in closed.items()},
            "open": {str(share): asdict(each) for share, each in open_loops.items()},
            "cpu_milliseconds": {f"VecSec, {client}": loaded[OURS].cpu_milliseconds(client) for client in CLIENTS},
        },
    )


class _Refused:
    """What the gateway says of searches; a load generator in C does not look into answers."""

    def __init__(self, running: Sides) -> None:
        self._page = MetricsPage(running.ours.installation.metrics_port)
        self._before = self._total()

    def count(self) -> float:
        """Searches since then that ended with an error. h2load hangs up at the end of its time; that is none."""
        return self._total() - self._before

    def _total(self) -> float:
        def searches(**code: str) -> float:
            return self._page.value("vecsec_requests_total", method="SearchDocuments", **code)

        return searches() - searches(code="OK") - searches(code="CANCELLED")


def _prepared(running: Sides, size: Size) -> dict[str, UnderLoad]:
    queries = make_queries(QUERIES)
    vectors = Model().embed(queries)
    generator = random.Random("load")
    chosen = [(generator.choice(size.tenant_ids), generator.randrange(QUERIES)) for _ in range(_PREPARED)]
    ours = [running.ours.call(tenant, queries[number], K) for tenant, number in chosen]
    server = [running.server.call(tenant, vectors[number], K) for tenant, number in chosen]
    return {
        OURS: UnderLoad(ours, service_pids(running.ours.installation)),
        SERVER: UnderLoad(server, {"server": running.server.pid}),
    }


def _closed_table(closed: Mapping[tuple[str, str], Summary]) -> Table:
    rows = [
        (side, client, f"{each.rate:,.0f}", *each.latency.cells, f"{each.answers:,}", str(each.errors))
        for (side, client), each in closed.items()
    ]
    return Table(("closed loop, 8 callers", "client", "searches/s", "p50", "p95", "p99", "searches", "errors"), rows)


def _cpu_table(loaded: Mapping[str, UnderLoad]) -> Table:
    names = (*SERVICES, "server", "client")
    rows = []
    for side, each in loaded.items():
        for client in CLIENTS:
            used = each.cpu_milliseconds(client)
            cells = (f"{used[name]:.2f} ms" if name in used else "" for name in names)
            rows.append((side, client, *cells, f"{sum(used.values()):.2f} ms"))
    return Table(("processor time a search", "client", *names, "all"), rows)


def _open_table(open_loops: Mapping[float, Summary], reached: float) -> Table:
    rows = [
        (f"{share:.0%}", f"{share * reached:,.0f}/s", f"{each.rate:,.0f}/s", *each.latency.cells, str(each.errors))
        for share, each in open_loops.items()
    ]
    return Table(("open loop at", "sent", "answered", "p50", "p95", "p99", "errors"), rows)


def _plot(open_loops: Mapping[float, Summary], reached: float) -> Plot:
    rates = [share * reached for share in open_loops]
    lines = [
        Line(name, rates, [getattr(each.latency, name) for each in open_loops.values()])
        for name in ("p50", "p95", "p99")
    ]
    return Plot(
        "open-loop",
        "VecSec at fixed rates: latency from the moment at which a search is due",
        "searches sent a second",
        "latency (ms)",
        lines,
        x_is_linear=True,
    )
