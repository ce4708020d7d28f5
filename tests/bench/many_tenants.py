"""More and more tenants of 100 rows in one installation, of which a few are asked often and most rarely."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from bench.corpus import WORDS, WORDS_A_PASSAGE, half_visible, make_queries
from bench.findings import Figure, Findings, Task
from bench.latencies import latency
from bench.passages import Passage, add, open_files, resident_mebibytes
from bench.secured import Secured, running

ROWS = 100
K = 10
STEPS = (10, 100, 500, 2_000)
HOT = 10
"""The tenants that are asked most."""
MEMORY_LIMIT = 1 << 30
_SEARCHES = 3_000
_COLD_TENANTS = 200
_LOADERS = 4


@dataclass
class Load:
    """What a run of searches showed, in seconds and MiB."""

    hot: list[float]
    all: list[float]
    most_resident: float
    most_files: int


def _introduction(steps: tuple[int, ...]) -> str:
    return (
        f"{steps[0]} to {steps[-1]:,} tenants of {ROWS} rows each on disk, searched by Zipf-distributed callers (one "
        f"at a time, {_SEARCHES:,} searches a step, k={K}, content returned) with CHROMA_MEMORY_LIMIT=1G. *Hot* are "
        f"the {HOT} tenants that are asked most. *Cold* is a tenant's first answer after a restart of the services."
    )


def steps_up_to(tenants: int) -> tuple[int, ...]:
    """The usual numbers of tenants, and on to this many."""
    return (*(step for step in STEPS if step < tenants), tenants)


def measure(task: Task) -> Findings:
    """Import and search in steps, then start anew for the cold tenants."""
    tenants = task.number("many", full=STEPS[-1], quick=20)
    return Findings(_introduction(steps_up_to(tenants)), _measure(task.folder(f"many-{tenants}"), tenants))


def _measure(folder: Path, tenants: int) -> list[Figure]:
    figures: list[Figure] = []
    names = [_name(number) for number in range(tenants)]
    first_p50 = 0.0
    with running(folder, names, CHROMA_MEMORY_LIMIT=str(MEMORY_LIMIT)) as ours:
        stored = 0
        for step in steps_up_to(tenants):
            loaded = folder / f"{step}.loaded"
            if not loaded.exists():
                load(ours, names[stored:step])
                loaded.touch()
            stored = step
            searched = search(ours, names[:step])
            hot = latency(searched.hot)
            first_p50 = first_p50 or hot.p50
            figures += [
                Figure(f"{step:,} tenants: hot, p50", hot.p50, "ms", 1.5 * first_p50),
                Figure(f"{step:,} tenants: all, p99", latency(searched.all).p99, "ms"),
                Figure(f"{step:,} tenants: most memory of retrieval", searched.most_resident, "MiB", 1024),
                Figure(f"{step:,} tenants: most open files of retrieval", searched.most_files, ""),
            ]
    with running(folder, names, CHROMA_MEMORY_LIMIT=str(MEMORY_LIMIT)) as ours:
        return figures + cold_figures(ours, names)


def load(ours: Secured, names: list[str]) -> None:
    """Import these tenants' passages."""

    def add_tenant(name: str) -> None:
        for _ in add(ours, name, [passages(name)]):
            pass

    with ThreadPoolExecutor(_LOADERS) as pool:
        for _ in track(pool.map(add_tenant, names), "importing tenants", total=len(names)):
            pass


def passages(name: str) -> list[Passage]:
    """A tenant's passages, the same in every run; every second one is for analysts."""
    generator = random.Random(name)
    return [
        Passage(
            f"doc-{row:03d}",
            " ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE)),
            half_visible(row),
        )
        for row in range(ROWS)
    ]


def search(ours: Secured, names: list[str]) -> Load:
    """Zipf-distributed callers, one after the other; the first tenth warms up."""
    tokens: dict[str, str] = {}
    queries = make_queries(200)
    found = Load([], [], 0, 0)
    for number, rank in enumerate(track(_ranks(len(names)), f"searching {len(names):,} tenants", total=_SEARCHES)):
        name = names[rank]
        token = tokens.get(name) or tokens.setdefault(name, ours.token(name, "analyst", "INTERNAL"))
        taken = _seconds(ours, token, name, queries[number % len(queries)])
        if number % 20 == 0:
            found.most_resident = max(found.most_resident, resident_mebibytes(ours))
            found.most_files = max(found.most_files, open_files(ours))
        if number >= _SEARCHES // 10:
            found.all.append(taken)
            if rank < HOT:
                found.hot.append(taken)
    return found


def cold_figures(ours: Secured, names: list[str]) -> list[Figure]:
    """First answers of tenants that were not searched since the start."""
    query = make_queries(1)[0]
    order = random.Random("cold").sample(names, min(len(names), _COLD_TENANTS + 5))
    tokens = [ours.token(name, "analyst", "INTERNAL") for name in order]
    taken = [
        _seconds(ours, token, name, query)
        for name, token in track(list(zip(order, tokens, strict=True)), "first answers of cold tenants")
    ][5:]
    cold = latency(taken)
    return [
        Figure("cold tenant's first answer: p50", cold.p50, "ms"),
        Figure("cold tenant's first answer: p95", cold.p95, "ms", 10),
        Figure("cold tenant's first answer: slowest of 200", max(taken) * 1e3, "ms", 60),
    ]


def _ranks(tenants: int) -> Iterator[int]:
    weights = 1 / np.arange(1, tenants + 1)
    chosen = np.random.default_rng(11).choice(tenants, _SEARCHES, p=weights / weights.sum())
    yield from chosen.tolist()


def _name(number: int) -> str:
    return f"bench_{number:05d}"


def _seconds(ours: Secured, token: str, tenant_id: str, query: str) -> float:
    started = time.perf_counter()
    found = ours.search_as(token, tenant_id, query, K)
    taken = time.perf_counter() - started
    if len(found) != K:
        raise RuntimeError(f"{tenant_id}: {len(found)} results")
    return taken
