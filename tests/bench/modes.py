"""What words cost: searches by words and by both beside searches by vectors, and batches beside single searches, in
turns."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from bench.corpus import Model, make_queries
from bench.findings import Figure, Findings, Task
from bench.latencies import latency
from bench.secured import Secured, running
from bench.visible_shares import TENANT, load, make_corpus, wait_until_quick
from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.type.v1 import batch_pb2, query_pb2

K = 10
SEARCHES = 320
"""In each mode."""
_BATCH = 16
_MODES = {
    "vector": query_pb2.SEARCH_MODE_VECTOR,
    "text": query_pb2.SEARCH_MODE_TEXT,
    "hybrid": query_pb2.SEARCH_MODE_HYBRID,
}
_SECONDS = 30


def measure(task: Task) -> Findings:
    """Search a small collection and a large one in each mode."""
    figures: list[Figure] = []
    for rows in (1_000, task.number("large", full=100_000, quick=5_000)):
        figures += _measure(task.folder(f"modes-{rows}"), rows)
    return Findings(
        f"One tenant, k={K}, content returned, one caller at a time who may read half of the rows, through the gateway "
        f"with check and audit, {SEARCHES} texts of six words: each in all modes, one after the other. Batches have "
        f"{_BATCH} of the same texts.",
        figures,
    )


def _measure(folder: Path, rows: int) -> list[Figure]:
    queries = make_queries(SEARCHES)
    corpus = make_corpus(Model(), rows)
    with running(folder, [TENANT]) as ours:
        load(ours, corpus)
        wait_until_quick(ours, queries)
        token = ours.token(TENANT, "superuser", "CONFIDENTIAL")
        seconds: dict[str, list[float]] = {name: [] for name in _MODES}
        in_batches: list[float] = []
        for start in track(range(0, SEARCHES, _BATCH), f"searching {rows:,} rows"):
            some = queries[start : start + _BATCH]
            for query in some:
                for name, mode in _MODES.items():
                    seconds[name].append(_search(ours, token, query, mode))
            in_batches.append(_batch(ours, token, some) / _BATCH)
    p50 = {name: latency(taken).p50 for name, taken in seconds.items()}
    batched = latency(in_batches).p50
    where = f"{rows:,} rows"
    return [
        *(Figure(f"{where}, {name}: p50", taken, "ms") for name, taken in p50.items()),
        Figure(f"{where}: hybrid beside vector", p50["hybrid"] / p50["vector"], "×", 1.3),
        Figure(f"{where}, hybrid in batches, per query: p50", batched, "ms"),
        Figure(f"{where}: searches a second in batches, beside single ones", p50["hybrid"] / batched, "×", at_least=4),
    ]


def _search(ours: Secured, token: str, text: str, mode: query_pb2.SearchMode.ValueType) -> float:
    request = gateway_service_pb2.SearchDocumentsRequest(
        tenant_id=TENANT,
        query=query_pb2.Query(text=text),
        k=K,
        mode=mode,
        fallback=gateway_service_pb2.FALLBACK_NONE,
    )
    started = time.perf_counter()
    ours.stub.SearchDocuments(request, metadata=(("authorization", f"Bearer {token}"),), timeout=_SECONDS)
    return time.perf_counter() - started


def _batch(ours: Secured, token: str, texts: Sequence[str]) -> float:
    request = gateway_service_pb2.SearchDocumentsBatchRequest(
        tenant_id=TENANT,
        queries=[batch_pb2.BatchQuery(query=query_pb2.Query(text=text), k=K) for text in texts],
        fallback=gateway_service_pb2.FALLBACK_NONE,
    )
    started = time.perf_counter()
    ours.stub.SearchDocumentsBatch(request, metadata=(("authorization", f"Bearer {token}"),), timeout=_SECONDS)
    return time.perf_counter() - started
