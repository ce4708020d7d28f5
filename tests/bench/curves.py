"""Latency against tenants, rows per tenant and visible share, beside both bare sides: what the plots show."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import sides
from bench.corpus import Model, half_visible, make_tenant, tenant_id
from bench.findings import Findings, Line, Plot, Table, Task
from bench.searches import TURN, Latencies, all_sides, in_turns
from bench.sides import OURS, SERVER, SHARED, Sides

TENANTS = (10, 30, 100, 300)
ROWS_A_TENANT = 100
ROWS = (100, 1_000, 10_000, 100_000)
CALLERS = {
    0.001: ("guest", "PUBLIC", 1),
    0.01: ("analyst", "INTERNAL", 2),
    0.1: ("superuser", "CONFIDENTIAL", 3),
    1.0: ("admin", "SECRET", 4),
}
"""Who sees which share of a tenant whose rows are shared out so: role, clearance, highest level."""
_LEGEND = {
    OURS: "VecSec: token, plan, search, check, audit",
    SERVER: "ChromaDB server: a collection a tenant, no filter",
    SHARED: "embedded ChromaDB: one collection for all, filtered",
}
_SEARCHES = 200


@dataclass(frozen=True)
class Point:
    """What was found for one value of x."""

    x: float
    found: Latencies


def by_tenants(task: Task) -> Findings:
    """More and more tenants on every side."""
    model, points, before = Model(), [], 0
    steps = [count for count in TENANTS if count <= task.number("most-tenants", full=TENANTS[-1], quick=30)]
    names = [tenant_id(number) for number in range(steps[-1])]
    with tempfile.TemporaryDirectory(dir=task.data) as data, sides.started(Path(data), names) as running:
        for count in steps:
            running.load((make_tenant(model, number, ROWS_A_TENANT) for number in range(before, count)), count - before)
            sides.make_hot(running.ours, names[:count])
            points.append(Point(count, in_turns(all_sides(running), names[:count], _turns(task))))
            before = count
    plot = _plot("Latency of one caller, by number of tenants", f"tenants of {ROWS_A_TENANT} rows each", points)
    return _findings(f"Tenants of {ROWS_A_TENANT} rows, of which the VecSec caller sees half.", plot, points)


def by_rows(task: Task) -> Findings:
    """Tenants of different sizes, side by side in the same stores."""
    with _different_tenants(task) as running:
        points = [
            Point(rows, in_turns(all_sides(running), [tenant_id(number)], _turns(task)))
            for number, rows in enumerate(_sizes(task))
        ]
    plot = _plot("Latency of one caller, by rows of the tenant", "rows of the tenant that is searched", points)
    return _findings("One tenant of each size; the VecSec caller sees half of its rows.", plot, points)


def by_share(task: Task) -> Findings:
    """Callers who see more or less of a tenant."""
    sizes = _sizes(task)
    half_seen, shared_out = [tenant_id(len(sizes) - 1)], [tenant_id(len(sizes))]
    with _different_tenants(task) as running:
        points = [Point(0.5, in_turns(all_sides(running, level=2), half_seen, _turns(task)))]
        for share, (role, clearance, level) in CALLERS.items():
            token = running.ours.token(shared_out[0], role, clearance)
            points.append(
                Point(share, in_turns(all_sides(running, token=token, level=level), shared_out, _turns(task)))
            )
    points.sort(key=lambda point: -point.x)
    plot = _plot(
        f"Latency of one caller, by visible share of {sizes[-1]:,} rows", "rows that the caller may see", points
    )
    return _findings(
        f"A tenant of {sizes[-1]:,} rows, of which callers see more or less. Embedded ChromaDB filters by level, "
        "too, so as to find the same rows; the server finds rows that the caller may not see.",
        replace(plot, is_share=True),
        points,
    )


def level_by_share(row: int) -> int:
    """Levels so that callers up to each see their share of the rows, spread evenly."""
    return min(level for share, (_, _, level) in CALLERS.items() if row % round(1 / share) == 0)


@contextmanager
def _different_tenants(task: Task) -> Iterator[Sides]:
    sizes = _sizes(task)
    kinds = [*((rows, half_visible) for rows in sizes), (sizes[-1], level_by_share)]
    model = Model()
    tenants = (make_tenant(model, number, rows, level) for number, (rows, level) in enumerate(kinds))
    names = [tenant_id(number) for number in range(len(kinds))]
    with sides.running_with(task.folder(f"up-to-{sizes[-1]}"), names, tenants) as running:
        yield running


def _sizes(task: Task) -> list[int]:
    return [rows for rows in ROWS if rows <= task.number("largest-tenant", full=10_000, quick=1_000)]


def _turns(task: Task) -> int:
    return task.number("curve-searches", full=_SEARCHES, quick=TURN) // TURN


def _plot(title: str, x_label: str, points: Sequence[Point]) -> Plot:
    lines = [
        Line(_LEGEND[side], [point.x for point in points], [point.found[side].p50 for point in points])
        for side in (OURS, SERVER, SHARED)
    ]
    return Plot("latency", title, x_label, "median latency (ms)", lines)


def _findings(introduction: str, plot: Plot, points: Sequence[Point]) -> Findings:
    quantiles = [(side, name) for side in (OURS, SERVER, SHARED) for name in ("p50", "p95")]
    rows = [
        (
            f"{point.x * 100:g} %" if plot.is_share else f"{point.x:,.0f}",
            *(f"{getattr(point.found[side], name):.2f} ms" for side, name in quantiles),
            *(f"{point.found[side].p50 / point.found[OURS].p50:.2f} ×" for side in (SERVER, SHARED)),
        )
        for point in points
    ]
    ratios = [f"p50, {side} / {OURS}" for side in (SERVER, SHARED)]
    return Findings(
        f"{introduction} One caller, {points[0].found[OURS].samples} searches a point and side in turns; k=10, content "
        "returned, 256 dimensions, all rows in VecSec's memory.",
        [],
        [Table((plot.x_label, *(f"{side} {name}" for side, name in quantiles), *ratios), rows)],
        [plot],
    )
