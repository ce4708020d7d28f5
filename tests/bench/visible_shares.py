"""One large tenant, searched by callers who may read all of it, half, a tenth, a hundredth and a thousandth: with
memory for all of it, and with much less, where the kernel keeps what it can of its snapshot."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench.corpus import WORDS, WORDS_A_PASSAGE, Model, make_queries
from bench.findings import Figure, Findings, Task
from bench.latencies import latency
from bench.passages import Passage, add
from bench.secured import Secured, running
from vecsec_chassis.domain.labels import Sensitivity

TENANT = "bench_large"
K = 10
SEARCHES = 200
RECALL_SEARCHES = 50
BATCH = 500
_LITTLE_MEMORY = "64M"
_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Reader:
    """A caller who sees the rows of these kinds and all kinds before."""

    share: str
    role: str
    clearance: str
    kind: int


READERS = (
    Reader("0.1 %", "guest", "PUBLIC", 0),
    Reader("1 %", "analyst", "INTERNAL", 1),
    Reader("10 %", "superuser", "INTERNAL", 2),
    Reader("50 %", "superuser", "CONFIDENTIAL", 3),
    Reader("100 %", "admin", "SECRET", 4),
)
_KINDS = (
    (Sensitivity.PUBLIC, "bench"),
    (Sensitivity.INTERNAL, "bench"),
    (Sensitivity.INTERNAL, "others"),
    (Sensitivity.CONFIDENTIAL, "bench"),
    (Sensitivity.SECRET, "bench"),
)
_KIND_SHARES = (0.001, 0.009, 0.09, 0.4, 0.5)


@dataclass(frozen=True)
class Corpus:
    """The passages, which kind each is of, and its direction."""

    passages: list[Passage]
    kinds: NDArray[np.int64]
    directions: NDArray[np.float32]

    def nearest(self, query: NDArray[np.float32], reader: Reader) -> set[str]:
        """The exact answer, by brute force."""
        rows = np.flatnonzero(self.kinds <= reader.kind)
        scores = self.directions[rows] @ query
        return {self.passages[row].document_id for row in rows[np.argsort(-scores)[:K]].tolist()}


def _introduction(rows: int) -> str:
    return (
        f"One tenant of {rows:,} rows, k={K}, content returned, one caller at a time, through the gateway with check "
        f"and audit, {SEARCHES} searches by each of five callers who may read different shares of it. "
        f"*Limit {_LITTLE_MEMORY}* is the same installation, restarted with CHROMA_MEMORY_LIMIT={_LITTLE_MEMORY}."
    )


def measure(task: Task) -> Findings:
    """Load the tenant, search it in memory, start anew with little memory and search it again."""
    rows = task.number("large", full=100_000, quick=5_000)
    return Findings(_introduction(rows), _measure(task.folder(f"visible-{rows}"), rows))


def _measure(folder: Path, rows: int) -> list[Figure]:
    model = Model()
    corpus = make_corpus(model, rows)
    queries = make_queries(SEARCHES)
    vectors = _directions(model.embed(queries))
    with running(folder, [TENANT]) as ours:
        load(ours, corpus)
        wait_until_quick(ours, queries)
        figures = searched(ours, corpus, queries, vectors, "memory for all", recall=1.0)
    with running(folder, [TENANT], CHROMA_MEMORY_LIMIT=_LITTLE_MEMORY) as ours:
        wait_until_quick(ours, queries)
        return figures + searched(ours, corpus, queries, vectors, f"limit {_LITTLE_MEMORY}", recall=1.0)


def make_corpus(model: Model, rows: int) -> Corpus:
    """The same passages in every run."""
    generator = random.Random("visible shares")
    kinds = np.random.default_rng(7).choice(len(_KINDS), rows, p=_KIND_SHARES)
    texts = [" ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE)) for _ in range(rows)]
    pages = track(range(0, rows, 1_000), "embedding for the brute-force answer")
    directions = np.concatenate([_directions(model.embed(texts[start : start + 1_000])) for start in pages])
    passages = [
        Passage(f"doc-{row:06d}", text, _KINDS[kind][0], _KINDS[kind][1])
        for row, (text, kind) in enumerate(zip(texts, kinds.tolist(), strict=True))
    ]
    return Corpus(passages, kinds, directions)


def load(ours: Secured, corpus: Corpus) -> None:
    """Import the corpus through the gateway."""
    starts = range(0, len(corpus.passages), BATCH)
    batches = (corpus.passages[start : start + BATCH] for start in starts)
    for _ in track(add(ours, TENANT, batches), "importing", total=len(starts)):
        pass


def wait_until_quick(ours: Secured, queries: list[str]) -> None:
    """Search until a cold start is over: until three searches in a row take about as long."""
    token = ours.token(TENANT, "guest", "PUBLIC")
    end = time.monotonic() + _PATIENCE_SECONDS
    lately = [0.0, 1.0]
    while max(lately) > 1.5 * min(lately) and time.monotonic() < end:
        lately = [_seconds(ours, token, query) for query in queries[:5]]


def searched(
    ours: Secured, corpus: Corpus, queries: list[str], vectors: NDArray[np.float32], how: str, *, recall: float
) -> list[Figure]:
    """Latency and recall of each reader."""
    figures = []
    for reader in track(READERS, f"searching {how}"):
        token = ours.token(TENANT, reader.role, reader.clearance)
        for query in queries[:5]:
            _seconds(ours, token, query)
        taken = latency([_seconds(ours, token, query) for query in queries])
        found = wanted = 0
        for query, vector in zip(queries[:RECALL_SEARCHES], vectors, strict=False):
            nearest = corpus.nearest(vector, reader)
            found += len(nearest & set(ours.search_as(token, TENANT, query, K)))
            wanted += len(nearest)
        figures += [
            Figure(f"{how}, {reader.share} visible: p50", taken.p50, "ms"),
            Figure(f"{how}, {reader.share} visible: p95", taken.p95, "ms", 12),
            Figure(f"{how}, {reader.share} visible: recall", found / wanted, "", at_least=recall),
        ]
    return figures


def _seconds(ours: Secured, token: str, query: str) -> float:
    started = time.perf_counter()
    ours.search_as(token, TENANT, query, K)
    return time.perf_counter() - started


def _directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    directions: NDArray[np.float32] = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return directions
