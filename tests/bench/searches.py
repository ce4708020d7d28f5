"""The latency of one caller's searches beside bare ChromaDB's, in turns."""

import random
import time
from collections.abc import Callable, Sequence

from rich.progress import track

from bench import secured
from bench.bare_chroma import BareChroma
from bench.corpus import Model, Tenant, make_queries, make_tenant, nearest
from bench.findings import Figure, Findings, Table, Task
from bench.latencies import latency

K = 10
WARM_UP = 2
RECALL_SAMPLES = 50
TURN = 20
"""So many searches of one side, then the same ones of the other: right after one of the other side, a search would find
the processor's caches full of that side's data."""


def measure(task: Task) -> Findings:
    """One run from nothing: load both sides, warm up, search in turns."""
    model = Model()
    tenant_count, rows = task.number("tenants", full=100, quick=10), task.number("rows", full=1000, quick=500)
    tenants = [make_tenant(model, number, rows) for number in track(range(tenant_count), "embedding")]
    queries = make_queries(200)
    vectors = model.embed(queries)
    with task.folder("latency") as folder, secured.running(folder, [each.tenant_id for each in tenants]) as ours:
        load_ours = seconds(_each, tenants, ours.add, "importing into VecSec")
        bare = BareChroma(folder / "bare")
        load_bare = seconds(_each, tenants, bare.add, "adding to bare ChromaDB")
        for tenant in track(tenants, "warming up"):
            for number in range(WARM_UP):
                ours.search(tenant.tenant_id, queries[number], K)
            bare.search(tenant.tenant_id, vectors[0], K)
        generator = random.Random("order")
        ours_seconds: list[float] = []
        bare_seconds: list[float] = []
        for _ in track(range(task.number("searches", full=500, quick=200) // TURN), "searching in turns"):
            turn = [(generator.choice(tenants), generator.randrange(len(queries))) for _ in range(TURN)]
            ours_seconds += [seconds(ours.search, tenant.tenant_id, queries[number], K) for tenant, number in turn]
            bare_seconds += [seconds(bare.search, tenant.tenant_id, vectors[number], K) for tenant, number in turn]
        found = 0
        for _ in range(RECALL_SAMPLES):
            tenant, number = generator.choice(tenants), generator.randrange(len(queries))
            exact = nearest(tenant, vectors[number], K)
            found += len(set(exact) & set(ours.search(tenant.tenant_id, queries[number], K)))
    secured_latency, bare_latency = latency(ours_seconds), latency(bare_seconds)
    return Findings(
        f"{tenant_count} tenants × {rows:,} documents, 256 dimensions, k={K}, content returned, one caller; half of "
        "each tenant's rows are visible to the VecSec caller.",
        [
            Figure("VecSec, p50", secured_latency.p50, "ms", 2.0),
            Figure("VecSec, p99", secured_latency.p99, "ms", 6.0),
            Figure("recall@10 of VecSec against brute force", found / (RECALL_SAMPLES * K), "", at_least=1.0),
            Figure("bare ChromaDB, one shared collection / VecSec, p50", bare_latency.p50 / secured_latency.p50, "×"),
            Figure("loading VecSec, through the gateway", load_ours, "s"),
            Figure("loading bare ChromaDB", load_bare, "s"),
        ],
        [
            Table(
                ("", "p50", "p95", "p99"),
                [
                    ("VecSec through the gateway (token, plan, search, check, audit)", *secured_latency.cells),
                    ('bare ChromaDB, one shared collection, `where={"tenant_id": …}`', *bare_latency.cells),
                ],
            )
        ],
    )


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def _each(tenants: Sequence[Tenant], load: Callable[[Tenant], None], what: str) -> None:
    for tenant in track(tenants, what):
        load(tenant)
