"""Strangers without a token who send what is dear to receive, beside one caller: what it costs that one, and how much
memory the services take for the strangers."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load_job
from bench.corpus import make_queries
from bench.findings import Figure, Findings, Task
from bench.latencies import latency
from bench.load_job import Job
from bench.many_tenants import K, load
from bench.processes import service_pids
from bench.secured import Secured, running

TENANT = "beside_strangers"
_LOOK_SECONDS = 0.02
_START_SECONDS = 1.0


@dataclass(frozen=True)
class _Attack:
    what: str
    kind: str
    callers: int
    service: str
    """Which is attacked."""


ATTACKS = (
    _Attack("4 callers, 64 KB of gzip that unpack to 63 MiB", "unpacking", 4, "gateway"),
    _Attack("8 callers, requests of 60 MiB", "large", 8, "gateway"),
    _Attack("8 callers, health checks of 15 MiB in 15 KB of gzip", "health", 8, "gateway"),
    _Attack("8 lanes to retrieval, calls of 60 MiB", "lane", 8, "retrieval"),
)


def measure(task: Task) -> Findings:
    """One caller in a closed loop: alone, then beside each kind of strangers."""
    seconds = task.number("seconds", full=10, quick=4)
    folder = task.folder("before-the-token")
    figures = []
    with running(folder, [TENANT]) as ours:
        if not (folder / "loaded").exists():
            load(ours, [TENANT])
            (folder / "loaded").touch()
        calls = [ours.call(TENANT, query, K) for query in make_queries(50)]
        _p50(calls, 2)
        for attack in ATTACKS:
            alone = _p50(calls, seconds)
            before = resident(ours)
            with _strangers(ours, attack, seconds + 2 * _START_SECONDS) as done, most_resident(ours) as most:
                beside = _p50(calls, seconds)
            figures += [
                Figure(f"{attack.what}: a caller's p50, beside / alone", beside / alone, "×", 2),
                Figure(f"{attack.what}: a caller's p50 beside them", beside, "ms"),
                Figure(
                    f"{attack.what}: memory of {attack.service} for it",
                    most[attack.service] - before[attack.service],
                    "MiB",
                    64,
                ),
                Figure(f"{attack.what}: calls of theirs", done["calls"], ""),
                Figure(f"{attack.what}: received of each", done["bytes"] / max(done["calls"], 1) / 1024, "KiB"),
            ]
    return Findings(
        "One caller who searches a tenant of 100 rows in a closed loop, and strangers without a token beside it, each "
        "of whom sends the next call when the last one is refused. *Memory* is the most that the process had more than "
        "before.",
        figures,
    )


def _p50(calls: list[load_job.GrpcCall], seconds: float) -> float:
    [samples] = load_job.run(Job(calls, K, seconds, callers=1)).callers
    if not all(each.is_ok for each in samples):
        raise RuntimeError("the caller beside the strangers was not answered")
    return latency([each.seconds for each in samples]).p50


@contextmanager
def _strangers(ours: Secured, attack: _Attack, seconds: float) -> Iterator[dict[str, int]]:
    port = getattr(ours.installation, f"{attack.service}_port")
    done: dict[str, int] = {}
    command = [sys.executable, "-m", "bench.strangers", attack.kind, str(port), str(attack.callers), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        threading.Event().wait(_START_SECONDS)
        try:
            yield done
        finally:
            out, _ = process.communicate()
            done.update(json.loads(out))


@contextmanager
def most_resident(ours: Secured) -> Iterator[dict[str, float]]:
    """The most that each service is seen to use until the block ends, in MiB."""
    pids = service_pids(ours.installation)
    most = dict(_resident_of(pids))
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            for name, mebibytes in _resident_of(pids).items():
                most[name] = max(most[name], mebibytes)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield most
    finally:
        is_over.set()
        watching.join()


def resident(ours: Secured) -> Mapping[str, float]:
    """Memory in use of each service, in MiB."""
    return _resident_of(service_pids(ours.installation))


def _resident_of(pids: Mapping[str, int]) -> Mapping[str, float]:
    page = os.sysconf("SC_PAGE_SIZE")
    return {name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page / 2**20 for name, pid in pids.items()}
