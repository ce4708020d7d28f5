"""Importing texts through the gateway beside bare ChromaDB, which gets them embedded, in turns."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from bench.bare_chroma import BareChroma
from bench.corpus import WORDS, WORDS_A_PASSAGE, Model, Tenant, half_visible
from bench.findings import Figure, Findings, Line, Plot, Task
from bench.passages import Passage, add, resident_mebibytes
from bench.secured import Secured, running

TENANT = "bench_import"
BATCH = 500
_TURN = 5_000


def _introduction(rows: int) -> str:
    return (
        f"{rows:,} passages, from texts to searchable and durable, in turns of {_TURN:,}: through the gateway in "
        f"batches of {BATCH}, one stream a turn, beside bare ChromaDB in the measuring process, with the time that "
        "embedding the same texts takes there added to `collection.add`. Memory is the retrieval process's, as the "
        "kernel counts it, of which the growing collection itself is a part, here and inside ChromaDB."
    )


def measure(task: Task) -> Findings:
    """Import on both sides, from nothing."""
    rows = task.number("import", full=100_000, quick=2_000)
    seconds, resident = _in_turns(task.folder(f"import-{rows}"), rows)
    stored = [min(rows, (turn + 1) * _TURN) for turn in range(len(resident))]
    middle, end = resident[(len(resident) - 1) // 2], resident[-1]
    return Findings(
        _introduction(rows),
        [
            Figure("VecSec, text to searchable", rows / seconds.ours, "passages/s"),
            Figure("bare ChromaDB, embedding and adding", rows / seconds.bare_and_embedding, "passages/s"),
            Figure("of which embedding", seconds.embedding, "s"),
            Figure("VecSec's rate / bare ChromaDB's", seconds.bare_and_embedding / seconds.ours, "×", at_least=0.9),
            Figure("memory after half of it", middle, "MiB"),
            Figure("memory at the end", end, "MiB"),
        ],
        plots=[
            Plot(
                "memory",
                "Memory of retrieval while it imports",
                "passages stored",
                "MiB",
                [Line("resident", stored, resident)],
                x_is_linear=True,
            )
        ],
    )


@dataclass
class _Seconds:
    ours: float = 0.0
    embedding: float = 0.0
    bare: float = 0.0

    @property
    def bare_and_embedding(self) -> float:
        return self.bare + self.embedding


def _in_turns(folder: Path, rows: int) -> tuple[_Seconds, list[float]]:
    """What each side took, and the memory of retrieval after each turn."""
    model = Model()
    generator = random.Random("import")
    seconds, resident = _Seconds(), []
    plain = BareChroma(folder / "bare")
    with running(folder, [TENANT], CHROMA_MEMORY_LIMIT="1G") as ours, Progress() as progress:
        task = progress.add_task("importing in turns", total=rows)
        for start in range(0, rows, _TURN):
            passages = _passages(generator, range(start, min(start + _TURN, rows)))
            seconds.ours += _import(ours, passages)
            resident.append(resident_mebibytes(ours))
            texts = [each.text for each in passages]
            started = time.perf_counter()
            embeddings = model.embed(texts)
            embedded = time.perf_counter()
            plain.add(Tenant(f"{TENANT}-{start}", texts, embeddings, half_visible))
            seconds.embedding += embedded - started
            seconds.bare += time.perf_counter() - embedded
            progress.update(task, advance=len(passages))
    return seconds, resident


def _passages(generator: random.Random, rows: Sequence[int]) -> list[Passage]:
    return [
        Passage(f"doc-{row:06d}", " ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE)), half_visible(row))
        for row in rows
    ]


def _import(ours: Secured, passages: list[Passage]) -> float:
    batches = [passages[start : start + BATCH] for start in range(0, len(passages), BATCH)]
    started = time.perf_counter()
    for _ in add(ours, TENANT, batches):
        pass
    return time.perf_counter() - started
