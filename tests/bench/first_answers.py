"""First answers of tenants that nobody has searched since the services started, by the size of the tenant."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.progress import track

from bench.corpus import WORDS, WORDS_A_PASSAGE, half_visible, make_queries
from bench.findings import Figure, Findings, Task
from bench.latencies import latency
from bench.passages import Passage, add
from bench.secured import Secured, running

K = 10
_BATCH = 500
_TENANTS = {1_000: 20, 100_000: 3}
"""So many of each size."""
_MOST_MS = {1_000: 12.0, 100_000: 40.0}
_WARM = "first_warm"
"""Searched before the others: the process has been up for long."""


def measure(task: Task) -> Findings:
    """Load tenants of each size, start anew, and search each once."""
    large = task.number("large", full=100_000, quick=5_000)
    sizes = {1_000: _TENANTS[1_000], large: _TENANTS[100_000]}
    folder = task.folder(f"first-{large}")
    names = {size: [f"first_{size}_{number}" for number in range(count)] for size, count in sizes.items()}
    everybody = [_WARM, *(name for of_size in names.values() for name in of_size)]
    _loaded(folder, names, everybody)
    with running(folder, everybody) as ours:
        figures = list(_figures(ours, names, large))
    return Findings(
        "Tenants of which nothing was in memory, each searched once by a caller who sees half of it, through the "
        "gateway with check and audit, after other tenants were.",
        figures,
    )


def _loaded(folder: Path, names: Mapping[int, Sequence[str]], everybody: list[str]) -> None:
    marker = folder / "loaded"
    if marker.exists():
        return
    with running(folder, everybody) as ours:
        for size, name in [(100, _WARM), *((size, name) for size, of_size in names.items() for name in of_size)]:
            for _ in track(add(ours, name, _batches(size)), f"importing {name}", total=-(-size // _BATCH)):
                pass
    marker.touch()


def _batches(size: int) -> Iterator[list[Passage]]:
    for start in range(0, size, _BATCH):
        rows = range(start, min(start + _BATCH, size))
        yield [Passage(f"doc-{row:06d}", _text(row), half_visible(row)) for row in rows]


def _text(row: int) -> str:
    return " ".join(WORDS[(row * 31 + place * 7 + row // len(WORDS)) % len(WORDS)] for place in range(WORDS_A_PASSAGE))


def _figures(ours: Secured, names: Mapping[int, Sequence[str]], large: int) -> Iterator[Figure]:
    query = make_queries(1)[0]
    for _ in range(20):
        _seconds(ours, _WARM, query)
    for size, of_size in names.items():
        taken = latency([_seconds(ours, name, query) for name in of_size])
        most = _MOST_MS[100_000 if size == large else size]
        yield Figure(f"{size:,} rows: first answer, p50", taken.p50, "ms")
        yield Figure(f"{size:,} rows: first answer, p95", taken.p95, "ms", most)


def _seconds(ours: Secured, name: str, query: str) -> float:
    token = ours.token(name, "analyst", "INTERNAL")
    started = time.perf_counter()
    ours.search_as(token, name, query, K)
    return time.perf_counter() - started
