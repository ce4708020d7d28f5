"""What one tenant's dear calls do to another tenant, who searches at a slow pace: its p99 beside that without them."""

import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from bench.corpus import WORDS, WORDS_A_PASSAGE, make_queries
from bench.dear_client import Attack, Outcome
from bench.findings import Figure, Findings, Task
from bench.latencies import Latency, latency
from bench.secured import Secured, running
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import access_pb2, document_pb2, filter_pb2, label_pb2, query_pb2, value_pb2

QUIET, LOUD = "bench_quiet", "bench_loud"
BATCH = 500
K = 10
PER_SECOND = 20.0
GOAL = 3.0
INTERNAL = 2
WARM_UP = 50
_ASKED_AT_ONCE = 32


def measure(task: Task) -> Findings:
    """Load both, ask as the quiet one alone, then beside each kind of dear calls."""
    rows = task.number("dear-rows", full=20_000, quick=5_000)
    seconds = task.number("dear-seconds", full=30, quick=10)
    folder = task.folder(f"dear-{rows}")
    with running(folder, [QUIET, LOUD]) as ours:
        if not (folder / "loaded").exists():
            _load(ours, QUIET, 1_000)
            _load(ours, LOUD, rows)
            (folder / "loaded").touch()
        quiet = _Quiet(ours)
        alone = quiet.ask_for(seconds)
        figures = [Figure("alone: p50", alone.p50, "ms"), Figure("alone: p99", alone.p99, "ms")]
        details: dict[str, object] = {"alone": asdict(alone)}
        for name, orders in _attacks(ours).items():
            with _attacked(orders) as outcome:
                beside = quiet.ask_for(seconds)
            answered, refused = outcome[0].answered / seconds, outcome[0].refused.total() / seconds
            details[name] = {**asdict(beside), "answered": answered, "refused": dict(outcome[0].refused)}
            figures += [
                Figure(f"{name}: p50", beside.p50, "ms"),
                Figure(f"{name}: p99 to that alone", beside.p99 / alone.p99, "times", GOAL),
                Figure(f"{name}: answered a second", answered, ""),
                Figure(f"{name}: refused a second", refused, ""),
            ]
            time.sleep(2)
    return Findings(
        f"A tenant of 1,000 rows makes {PER_SECOND:g} searches a second for {seconds} s, alone and beside eight "
        f"callers of another one ({rows:,} rows) who make dear calls under four names, and wait as long as refusals "
        "say. The clients of both are on the same machine.",
        figures,
        details=details,
    )


class _Quiet:
    """Searches at a slow pace, each at its time, whatever the one before takes."""

    def __init__(self, ours: Secured) -> None:
        self._ours = ours
        self._queries = make_queries(200)
        for query in self._queries[:WARM_UP]:
            ours.search(QUIET, query, K)

    def ask_for(self, seconds: float) -> Latency:
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as asking:
            started = time.perf_counter()
            asked = []
            for number in range(int(seconds * PER_SECOND)):
                time.sleep(max(started + number / PER_SECOND - time.perf_counter(), 0.0))
                asked.append(asking.submit(self._ask, self._queries[number % len(self._queries)], time.perf_counter()))
            return latency([each.result() for each in asked])

    def _ask(self, query: str, due: float) -> float:
        assert self._ours.search(QUIET, query, K)
        return time.perf_counter() - due


@contextmanager
def _attacked(orders: Attack) -> Iterator[list[Outcome]]:
    """While the calls are made; what came of them is in the list afterwards."""
    outcome: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="vecsec-dear-") as folder:
        orders_file, outcome_file = Path(folder, "orders"), Path(folder, "outcome")
        orders_file.write_bytes(pickle.dumps(orders))
        command = [sys.executable, "-m", "bench.dear_client", str(orders_file), str(outcome_file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as client:
            time.sleep(1.5)  # it has begun
            yield outcome
            client.communicate()
        outcome.append(Outcome(*pickle.loads(outcome_file.read_bytes())))


def _attacks(ours: Secured) -> dict[str, Attack]:
    readers = tuple(ours.token_of(LOUD, "admin", "SECRET", f"loud-{number}") for number in range(4))
    search = gateway_pb2.SearchDocumentsRequest(
        tenant_id=LOUD, query=query_pb2.Query(text="a plan"), k=K, fallback=gateway_pb2.FALLBACK_NONE
    )
    filtered, many = gateway_pb2.SearchDocumentsRequest(), gateway_pb2.SearchDocumentsRequest()
    filtered.CopyFrom(search)
    filtered.filter.CopyFrom(_large_filter())
    many.CopyFrom(search)
    many.k = 1_000
    listing = gateway_pb2.ListDocumentIdsRequest(tenant_id=LOUD, page_size=1)
    explained = gateway_pb2.ExplainAccessRequest(tenant_id=LOUD, action=access_pb2.ACTION_READ, label=_large_label())
    imported = gateway_pb2.ImportDocumentsRequest(tenant_id=LOUD, documents=_documents(random.Random(1), 0, 1_000))
    calm = Attack(ours.installation.address, "SearchDocuments", filtered.SerializeToString(), readers)
    return {
        "filters of 64 x 150 values": calm,
        "k=1000": replace(calm, request=many.SerializeToString()),
        "pages of 1": replace(calm, method="ListDocumentIds", request=listing.SerializeToString()),
        "labels of 70 KB": replace(calm, method="ExplainAccess", request=explained.SerializeToString()),
        "reread": replace(
            calm,
            method="RereadTenant",
            request=gateway_pb2.RereadTenantRequest(tenant_id=LOUD).SerializeToString(),
        ),
        "imports of 1,000 rows": replace(
            calm, method="ImportDocuments", request=imported.SerializeToString(), is_stream=True
        ),
    }


def _large_filter() -> filter_pb2.MetadataFilter:
    return filter_pb2.MetadataFilter(
        any_of=filter_pb2.MetadataFilter.AnyOf(
            filters=[
                filter_pb2.MetadataFilter(
                    **{
                        "in": filter_pb2.MetadataFilter.In(
                            key="kind",
                            values=[value_pb2.Value(string_value=f"value {part} {each}") for each in range(150)],
                        )
                    }
                )
                for part in range(64)
            ]
        )
    )


def _large_label() -> label_pb2.Label:
    values = {
        f"attribute_{number}": value_pb2.Value(
            string_list_value=value_pb2.StringList(values=[f"{each}" + "\U0001f600" * 60 for each in range(16)])
        )
        for number in range(16)
    }
    return label_pb2.Label(tenant_id=LOUD, sensitivity=INTERNAL, topics=["bench"], attributes=values)


def _load(ours: Secured, tenant_id: str, rows: int) -> None:
    generator = random.Random(tenant_id)
    requests = (
        gateway_pb2.ImportDocumentsRequest(tenant_id=tenant_id, documents=_documents(generator, start, BATCH))
        for start in range(0, rows, BATCH)
    )
    for _ in ours.import_requests(tenant_id, requests):
        pass


def _documents(generator: random.Random, start: int, count: int) -> list[document_pb2.DocumentInput]:
    return [
        document_pb2.DocumentInput(
            document_id=f"doc-{number}",
            text=" ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE)),
            sensitivity=INTERNAL,
            topics=["bench"],
            metadata={"kind": value_pb2.Value(string_value=f"value {number % 64} {number % 150}")},
        )
        for number in range(start, start + count)
    ]
