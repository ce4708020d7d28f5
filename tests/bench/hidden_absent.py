"""What time tells: a collection that is hidden from a caller beside one that is not there, and a collection of rows
that the caller may read beside one that holds many hidden ones, too."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np

from bench.corpus import WORDS, WORDS_A_PASSAGE
from bench.findings import Figure, Findings, Task
from bench.latencies import latency
from bench.passages import Passage
from bench.secured import Secured, running
from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.type.v1 import document_pb2, query_pb2

TENANT = "bench_hidden"
ABSENT, HIDDEN, ALONE, BESIDE = "not-there", "not-shown", "all-shown", "few-shown"
VISIBLE = 1_000
BATCH = 500
WARM_UP = 100
GOAL = 55.0
PUBLIC, SECRET = 1, 4


def measure(task: Task) -> Findings:
    """Ask in turns, each query once, and look how well the best threshold tells the answers' times apart."""
    calls = task.number("hidden-calls", full=1_000, quick=200)
    hidden = task.number("hidden-rows", full=24_000, quick=2_000)
    introduction = (
        f"A guest's searches through the gateway, {calls:,} of each kind in random turns, each once. *Told apart* "
        "is the share of calls that the best threshold on their time puts where they belong: 50 % is chance, and "
        f"{50 + 50 * 1.22 * (2 / calls) ** 0.5:.0f} % comes of chance alone in one of ten such measurements."
    )
    return Findings(introduction, _measure(task.folder(f"hidden-{hidden}"), hidden, calls))


def told_apart(some: list[float], others: list[float]) -> float:
    """The share that the best threshold puts where it belongs, in percent."""
    both = np.concatenate([some, others])
    are_some = np.concatenate([np.ones(len(some)), np.zeros(len(others))])[np.argsort(both, kind="stable")]
    below = np.cumsum(are_some) / len(some) - np.cumsum(1 - are_some) / len(others)
    return 50 + 50 * float(np.abs(below).max())


def _measure(folder: Path, hidden: int, calls: int) -> list[Figure]:
    generator = random.Random("hidden or absent")
    with running(folder, [TENANT]) as ours:
        if not (folder / "loaded").exists():
            for collection_id, visible_rows, hidden_rows in (
                (HIDDEN, 0, hidden),
                (ALONE, VISIBLE, 0),
                (BESIDE, VISIBLE, hidden),
            ):
                _load(ours, collection_id, _passages(generator, visible_rows, hidden_rows))
            (folder / "loaded").touch()
        caller = _Caller(ours, generator)
        figures = []
        for what, one, other in (
            ("hidden or absent collection", HIDDEN, ABSENT),
            (f"{hidden:,} hidden rows beside {VISIBLE:,} or none", BESIDE, ALONE),
        ):
            times = caller.in_turns([one, other], calls)
            figures += [
                Figure(f"{what}: told apart", told_apart(times[one], times[other]), "%", GOAL),
                Figure(f"{what}: p50 of the former", latency(times[one]).p50, "ms"),
                Figure(f"{what}: p50 of the latter", latency(times[other]).p50, "ms"),
            ]
        return figures


class _Caller:
    """Searches as a guest, who may read PUBLIC rows alone."""

    def __init__(self, ours: Secured, generator: random.Random) -> None:
        self._generator = generator
        self._search: Callable[..., object] = ours.searcher()
        self._metadata = (("authorization", f"Bearer {ours.token(TENANT, 'guest', 'PUBLIC')}"),)

    def in_turns(self, collection_ids: list[str], calls: int) -> dict[str, list[float]]:
        """The seconds that searches took."""
        for collection_id in collection_ids * WARM_UP:
            self._seconds(collection_id)
        turns = collection_ids * calls
        self._generator.shuffle(turns)
        times: dict[str, list[float]] = {each: [] for each in collection_ids}
        for collection_id in turns:
            times[collection_id].append(self._seconds(collection_id))
        return times

    def _seconds(self, collection_id: str) -> float:
        request = gateway_service_pb2.SearchDocumentsRequest(
            tenant_id=TENANT,
            collection_id=collection_id,
            query=query_pb2.Query(text=_text(self._generator)),
            k=10,
            fallback=gateway_service_pb2.FALLBACK_NONE,
        )
        started = time.perf_counter()
        try:
            self._search(request, metadata=self._metadata, timeout=30)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        return time.perf_counter() - started


def _passages(generator: random.Random, visible: int, hidden: int) -> list[Passage]:
    levels = [PUBLIC] * visible + [SECRET] * hidden
    generator.shuffle(levels)
    return [Passage(f"doc-{number}", _text(generator), level) for number, level in enumerate(levels)]


def _text(generator: random.Random) -> str:
    return " ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE))


def _load(ours: Secured, collection_id: str, passages: list[Passage]) -> None:
    requests = (
        gateway_service_pb2.ImportDocumentsRequest(
            tenant_id=TENANT,
            collection_id=collection_id,
            documents=[
                document_pb2.DocumentInput(
                    document_id=each.document_id, text=each.text, sensitivity=each.level, topics=[each.topic]
                )
                for each in passages[start : start + BATCH]
            ],
        )
        for start in range(0, len(passages), BATCH)
    )
    for _ in ours.import_requests(TENANT, requests):
        pass
