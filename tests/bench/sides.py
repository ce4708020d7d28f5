"""Three sides with the same data: VecSec, embedded ChromaDB with everybody in one collection, a ChromaDB server."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from bench import chroma_server, secured
from bench.bare_chroma import BareChroma
from bench.chroma_server import ChromaServer
from bench.corpus import Model, Tenant, make_tenant, tenant_id
from bench.findings import Task
from bench.metrics_page import MetricsPage
from bench.secured import Secured

OURS, SERVER, SHARED = "VecSec", "ChromaDB server", "embedded ChromaDB"
THEY_ARE = (
    "*VecSec* is the three processes with token, plan, check and audit on. *ChromaDB server* is a `chroma run` with "
    "a collection a tenant, asked without a filter; *embedded ChromaDB* has all tenants in one collection and is asked "
    'with `where={"tenant_id": …}`. Neither of them has any security.'
)
_LOADED = "loaded"
_HOT_SECONDS = 120


@dataclass(frozen=True)
class Sides:
    """All three, running."""

    ours: Secured
    shared: BareChroma
    server: ChromaServer

    def load(self, tenants: Iterable[Tenant], count: int) -> None:
        """Store so many tenants on every side."""
        adders = (self.ours.add, self.server.add, self.shared.add)
        with ThreadPoolExecutor(len(adders)) as pool:
            for tenant in track(tenants, "loading", total=count):
                for added in [pool.submit(add, tenant) for add in adders]:
                    added.result()


@dataclass(frozen=True)
class Size:
    """Of the data that latency and load are measured with."""

    tenants: int
    rows: int

    @classmethod
    def of(cls, task: Task) -> "Size":
        return cls(task.number("tenants", full=100, quick=10), task.number("rows", full=1000, quick=250))

    @property
    def tenant_ids(self) -> list[str]:
        return [tenant_id(number) for number in range(self.tenants)]

    @property
    def sentence(self) -> str:
        return (
            f"{self.tenants} tenants × {self.rows:,} documents, 256 dimensions, k=10, content returned; the VecSec "
            "caller sees half of its tenant's rows, and all are in memory."
        )


@contextmanager
def running(task: Task, size: Size) -> Iterator[Sides]:
    """All sides with `size`'s tenants in memory, loaded now or by an earlier section or run that kept its data."""
    model = Model()
    tenants = (make_tenant(model, number, size.rows) for number in range(size.tenants))
    with running_with(_folder(task, size), size.tenant_ids, tenants) as sides:
        yield sides


def loaded(task: Task, size: Size) -> Path:
    """Where the data of all sides is, ours in `ours`; none of them is running."""
    folder = _folder(task, size)
    if not (folder / _LOADED).exists():
        with running(task, size):
            pass
    return folder


@contextmanager
def running_with(data: Path, tenant_ids: Sequence[str], tenants: Iterable[Tenant]) -> Iterator[Sides]:
    """All sides with these tenants in memory; they are only made where they are not in the folder yet."""
    marker = data / _LOADED
    if not marker.exists():
        shutil.rmtree(data)  # of a run that was cut off
    with started(data, tenant_ids) as sides:
        if not marker.exists():
            sides.load(tenants, len(tenant_ids))
            marker.touch()
        make_hot(sides.ours, tenant_ids)
        yield sides


@contextmanager
def started(data: Path, tenant_ids: Sequence[str]) -> Iterator[Sides]:
    """All sides with what is in the folder; the policy service knows these tenants."""
    with (
        secured.running(data / "ours", list(tenant_ids)) as ours,
        chroma_server.running(data / "server") as server,
    ):
        yield Sides(ours, BareChroma(data / "shared"), server)


def _folder(task: Task, size: Size) -> Path:
    return task.folder(f"{size.tenants}x{size.rows}")


def make_hot(ours: Secured, tenant_ids: Sequence[str]) -> None:
    """Search each tenant until every one is answered from memory.

    Raises:
        TimeoutError: if some never are.
    """
    page = MetricsPage(ours.installation.metrics_port + 1)
    deadline = time.monotonic() + _HOT_SECONDS
    while True:
        before = page.value("vecsec_search_strategy_total", strategy="exact_scan")
        for tenant in tenant_ids:
            ours.search(tenant, "warm up", 10)
        if page.value("vecsec_search_strategy_total", strategy="exact_scan") - before == len(tenant_ids):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every tenant's rows were in memory within {_HOT_SECONDS} s")


def seconds_of(work: Callable[..., object], *arguments: object) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started
