"""The latency of one caller's searches beside both bare sides', in turns."""

import random
from collections.abc import Callable, Mapping, Sequence

from rich.progress import track

from bench import h2load, sides
from bench.corpus import Model, make_queries, make_tenant, nearest
from bench.findings import Figure, Findings, Table, Task
from bench.latencies import Latency, latency
from bench.sides import OURS, SERVER, SHARED, Sides, Size, seconds_of
from bench.wire_calls import GrpcCall, HttpCall

K = 10
TURN = 50
"""So many searches of one side, then the same ones of the others: right after one of another side, a search finds the
processor's caches full of that side's data (measured: VecSec's first one of a turn takes 6.2 ms, the twentieth 4.6)."""
QUERIES = 200
_RECALL_TENANTS, _RECALL_QUERIES = 5, 10

Searches = Mapping[str, Callable[[str, int], object]]
"""By side: the search for a tenant and the number of a query."""
Latencies = dict[str, Latency]
"""By side."""


def measure(task: Task) -> Findings:
    """Load all sides, warm up, search in turns."""
    size = Size.of(task)
    turns = task.number("searches", full=1000, quick=200) // TURN
    with sides.running(task, size) as running:
        found = in_turns(all_sides(running), size.tenant_ids, turns)
        by_h2load = _by_h2load(running, size.tenant_ids, turns) if h2load.is_present() else {}
        recall = _recall(running, size)
    figures = [
        *_figures("", found),
        *(_figures("by h2load: ", by_h2load) if by_h2load else ()),
        Figure(
            "embedded ChromaDB with `where` / VecSec, p50",
            found[SHARED].p50 / found[OURS].p50,
            "×",
            at_least=None if task.is_quick else 10.0,
        ),
        Figure("recall@10 of VecSec against brute force", recall, "", at_least=1.0),
    ]
    return Findings(
        f"{size.sentence} {sides.THEY_ARE} One caller, all sides in turns of {TURN} searches.",
        figures,
        [
            _table("each side by its own Python client", found),
            *([_table("by h2load, a client in C; each turn one tenant and query", by_h2load)] if by_h2load else []),
        ],
        remarks="VecSec gets a text and embeds it, ChromaDB a ready vector.",
    )


def all_sides(running: Sides, *, token: str | None = None, level: int | None = None) -> Searches:
    """A search on each side: by the tenant's analyst, or by the caller with this token, who sees rows up to a level."""
    queries = make_queries(QUERIES)
    vectors = Model().embed(queries)
    ours = running.ours
    return {
        OURS: lambda tenant, number: ours.search_as(token or ours.reader(tenant), tenant, queries[number], K),
        SERVER: lambda tenant, number: running.server.search(tenant, vectors[number], K),
        SHARED: lambda tenant, number: running.shared.search(tenant, vectors[number], K, level),
    }


def in_turns(searches: Searches, tenant_ids: Sequence[str], turns: int) -> Latencies:
    """One caller's latencies, each side being warm."""
    for tenant in tenant_ids:
        for search in searches.values():
            search(tenant, 0)
    generator = random.Random("order")
    seconds: dict[str, list[float]] = {side: [] for side in searches}
    for _ in track(range(turns), "searching in turns"):
        turn = [(generator.choice(tenant_ids), generator.randrange(QUERIES)) for _ in range(TURN)]
        for side, search in searches.items():
            seconds[side] += [seconds_of(search, tenant, number) for tenant, number in turn]
    return {side: latency(each) for side, each in seconds.items()}


def _by_h2load(running: Sides, tenant_ids: Sequence[str], turns: int) -> Latencies:
    queries = make_queries(QUERIES)
    vectors = Model().embed(queries)
    generator = random.Random("h2load")
    seconds: dict[str, list[float]] = {OURS: [], SERVER: []}
    for _ in track(range(turns), "searching in turns by h2load"):
        tenant, number = generator.choice(tenant_ids), generator.randrange(QUERIES)
        calls: Mapping[str, GrpcCall | HttpCall] = {
            OURS: running.ours.call(tenant, queries[number], K),
            SERVER: running.server.call(tenant, vectors[number], K),
        }
        for side, call in calls.items():
            [samples], _ = h2load.closed_loop([call], h2load.Amount(requests=TURN + 1))
            seconds[side] += [each.seconds for each in samples[1:]]  # the first one is the connection's
    return {side: latency(each) for side, each in seconds.items()}


def _recall(running: Sides, size: Size) -> float:
    model = Model()
    queries = make_queries(_RECALL_QUERIES)
    vectors = model.embed(queries)
    found = 0
    for number in random.Random("recall").sample(range(size.tenants), _RECALL_TENANTS):
        tenant = make_tenant(model, number, size.rows)
        for query, vector in zip(queries, vectors, strict=True):
            exact = nearest(tenant, vector, K)
            found += len(set(exact) & set(running.ours.search(tenant.tenant_id, query, K)))
    return found / (_RECALL_TENANTS * _RECALL_QUERIES * K)


def _figures(prefix: str, found: Latencies) -> list[Figure]:
    ours, server = found[OURS], found[SERVER]
    return [
        Figure(f"{prefix}VecSec, p50", ours.p50, "ms", 2.0),
        Figure(f"{prefix}VecSec, p99", ours.p99, "ms", 6.0),
        Figure(f"{prefix}VecSec / ChromaDB server without a filter, p50", ours.p50 / server.p50, "×", 0.5),
    ]


def _table(client: str, found: Latencies) -> Table:
    rows = [(side, *each.cells, f"{each.p50 / found[OURS].p50:.2f} ×") for side, each in found.items()]
    return Table((client, "p50", "p95", "p99", "p50 / VecSec's"), rows)
