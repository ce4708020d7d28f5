"""Measure a secured search beside a bare one, interleaved, on the same data."""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from bench import report, sections, secured
from bench.bare_chroma import BareChroma
from bench.corpus import Model, make_queries, make_tenant, nearest

ROOT = Path(__file__).resolve().parents[2]
FULL_RUN = "bench"
K = 10
WARM_UP = 2
RECALL_SAMPLES = 50
TURN = 20
"""So many searches of one side, then the same ones of the other: right after one of the other side, a search would find
the processor's caches full of that side's data."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--name", default=FULL_RUN, help="which section of BENCHMARKS.md the run replaces")
    parser.add_argument("--only", choices=sections.NAMES, help="measure this section and nothing else")
    parser.add_argument("--label-rows", type=int, default=100_000, help="rows of each collection in many-labels")
    options = parser.parse_args()
    if options.only:
        sections.measure(options.only, options.label_rows, ROOT)
        return
    with tempfile.TemporaryDirectory(prefix="vecsec-bench-") as folder:
        result = run(Path(folder), options.tenants, options.rows, options.searches)
    report.show(result)
    report.keep(result, ROOT, options.name)
    for section in sections.NAMES if options.name == FULL_RUN else ():
        sections.measure(section, options.label_rows, ROOT)


def seconds(search: Callable[..., object], *arguments: object) -> float:
    """How long one search takes."""
    started = time.perf_counter()
    search(*arguments)
    return time.perf_counter() - started


def run(folder: Path, tenant_count: int, rows: int, searches: int) -> report.Result:
    """One run from nothing: load both sides, warm up, search in turns."""
    model = Model()
    tenants = [make_tenant(model, number, rows) for number in track(range(tenant_count), "embedding")]
    queries = make_queries(200)
    vectors = model.embed(queries)
    with secured.running(folder, [tenant.tenant_id for tenant in tenants]) as ours:
        started = time.perf_counter()
        for tenant in track(tenants, "importing into VecSec"):
            ours.add(tenant)
        load_secured = time.perf_counter() - started
        bare = BareChroma(folder / "bare")
        started = time.perf_counter()
        for tenant in track(tenants, "adding to bare ChromaDB"):
            bare.add(tenant)
        load_bare = time.perf_counter() - started
        for tenant in track(tenants, "warming up"):
            for number in range(WARM_UP):
                ours.search(tenant.tenant_id, queries[number], K)
            bare.search(tenant.tenant_id, vectors[0], K)
        generator = random.Random("order")
        ours_seconds, bare_seconds = [], []
        for _ in track(range(searches // TURN), "searching in turns"):
            turn = [(generator.choice(tenants), generator.randrange(len(queries))) for _ in range(TURN)]
            ours_seconds += [seconds(ours.search, tenant.tenant_id, queries[number], K) for tenant, number in turn]
            bare_seconds += [seconds(bare.search, tenant.tenant_id, vectors[number], K) for tenant, number in turn]
        found = 0
        for _ in range(RECALL_SAMPLES):
            tenant, number = generator.choice(tenants), generator.randrange(len(queries))
            exact = nearest(tenant, vectors[number], K)
            found += len(set(exact) & set(ours.search(tenant.tenant_id, queries[number], K)))
    return report.Result(
        tenants=tenant_count,
        rows_a_tenant=rows,
        secured=report.latency(ours_seconds),
        bare=report.latency(bare_seconds),
        recall=found / (RECALL_SAMPLES * K),
        load_secured_seconds=load_secured,
        load_bare_seconds=load_bare,
        taken_at=report.now(),
        machine=report.describe_machine(),
        commit=report.describe_commit(ROOT),
        versions=report.versions(),
    )


if __name__ == "__main__":
    main()
