"""What share of a search's time is security's, by its trace."""

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rich.progress import track
from support.collector import collecting, own_attributes

from bench import secured, sides
from bench.corpus import make_queries
from bench.findings import Figure, Findings, Table, Task
from bench.searches import QUERIES, K
from bench.sides import Size

GOAL_PERCENT = 35
PARTS = {
    "token": "gateway: the caller's token verified",
    "plan": "gateway: PlanAccess, from call to answer; nothing where the plan is remembered",
    "grant": "retrieval: the grant verified",
    "mask": "retrieval: labels decided, and which rows they make visible",
    "check": "gateway: CheckDocuments, from call to answer",
}
"""The parts of a search that there would not be without security."""
_REMARKS = (
    "By the OTLP traces of the services, recorded by a collector while one caller searches: for each search the sum of "
    "the five parts, where the calls to the policy service include the way there and back. The share is the median of "
    "these sums divided by the median of how long the gateway's span of the whole search lasts; the way between "
    "caller and gateway is in neither. Recording traces makes parts and whole somewhat slower."
)

Microseconds = dict[str, float]
"""How long each part of one search took; `search` is the whole."""


def measure(task: Task) -> Findings:
    """Search while traces are recorded."""
    size = Size.of(task)
    folder = sides.loaded(task, size) / "ours"
    with collecting() as (collector, endpoint):
        since = _search(folder, size, task.number("searches", full=1000, quick=200), endpoint)
        # Leaving the installation has flushed what was still unsent.
        spans = [(service, span) for service, span in collector.spans() if span.start_time_unix_nano >= since]
    found = parts_of_searches(spans)
    whole = statistics.median(each["search"] for each in found)
    security = statistics.median(sum(each[part] for part in PARTS) for each in found)
    rows = []
    for part, what in PARTS.items():
        taken = [each[part] for each in found]
        shown = f"{statistics.median(taken) / 1e3:.3f} ms", f"{statistics.fmean(taken) / 1e3:.3f} ms"
        rows.append((f"{part} ({what})", *shown))
    return Findings(
        f"{size.sentence} One caller, {len(found):,} searches.",
        [
            Figure(
                "share of a search's time in token, plan, mask and check", security / whole * 100, "%", GOAL_PERCENT
            ),
            Figure("security in a search, median", security / 1e3, "ms"),
            Figure("the whole search in the gateway, median", whole / 1e3, "ms"),
        ],
        [Table(("part of a search", "median", "mean"), rows)],
        remarks=_REMARKS,
    )


def parts_of_searches(spans: Iterable[tuple[str, Span]]) -> list[Microseconds]:
    """Each search that the gateway served, in the order in which they began."""
    by_trace: dict[bytes, list[tuple[str, Span]]] = defaultdict(list)
    for service, span in spans:
        by_trace[span.trace_id].append((service, span))
    searches = [found for trace in by_trace.values() if (found := _parts(trace)) is not None]
    return [parts for _, parts in sorted(searches, key=lambda each: each[0])]


def _parts(trace: Iterable[tuple[str, Span]]) -> tuple[int, Microseconds] | None:
    """When a search began and how long its parts took; None if the trace is of something else."""
    began = None
    parts: Microseconds = dict.fromkeys((*PARTS, "search"), 0.0)
    for service, span in trace:
        microseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e3
        kind = (service, span.kind, span.name.rpartition("/")[2])
        if kind == ("vecsec-gateway", Span.SPAN_KIND_SERVER, "SearchDocuments"):
            began = span.start_time_unix_nano
            parts["search"] = microseconds
            _add(parts, span, {"token": "token_us"})
        elif kind == ("vecsec-gateway", Span.SPAN_KIND_CLIENT, "PlanAccess"):
            parts["plan"] += microseconds
        elif kind == ("vecsec-gateway", Span.SPAN_KIND_CLIENT, "CheckDocuments"):
            parts["check"] += microseconds
        elif kind == ("vecsec-retrieval", Span.SPAN_KIND_SERVER, "SearchDocuments"):
            _add(parts, span, {"grant": "grant_us", "mask": "mask_us"})
    return None if began is None else (began, parts)


def _add(parts: Microseconds, span: Span, names: Mapping[str, str]) -> None:
    noted = own_attributes(span)
    for part, name in names.items():
        parts[part] += float(noted[name])


def _search(folder: Path, size: Size, searches: int, endpoint: str) -> int:
    """Returns when warming up was over, in nanoseconds since the epoch."""
    queries = make_queries(QUERIES)
    generator = random.Random("order")
    with secured.running(folder, size.tenant_ids, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as ours:
        sides.make_hot(ours, size.tenant_ids)
        since = time.time_ns()
        for _ in track(range(searches), "searching while traces are recorded"):
            ours.search(generator.choice(size.tenant_ids), generator.choice(queries), K)
    return since
