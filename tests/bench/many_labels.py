"""What many distinct labels cost: a collection where each row has an owner beside one where rows share a few labels."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider

from bench.corpus import DIMENSIONS
from bench.findings import Figure, Findings, Task
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.folder.principals import Caller
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

TENANT = "tenant_a"
K = 10
FIRST_SEARCHES, SEARCHES = 12, 60
EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "policies" / "attributes"
_BATCH = 1_000


def introduction(rows: int) -> str:
    return (
        f"Planning and searching {rows:,} rows in memory, k={K}, in turns: a collection whose rows "
        "share a few labels beside one where each row has an owner, under the packaged policy and under the example's, "
        "by whose rules a caller sees one row of the latter: their own. Medians, inside the services. *First* is a "
        "caller's first search, planned and decided from nothing."
    )


def measure(task: Task) -> Findings:
    """The figures; each pair is measured in turns."""
    rows = task.number("label-rows", full=100_000, quick=10_000)
    return Findings(introduction(rows), asyncio.run(_measure(rows)))


async def _measure(rows: int) -> list[Figure]:
    few, many = _index(rows, lambda _row: ()), _index(rows, lambda row: (("owner", f"user-{row}"),))
    figures = []
    async with _threads() as threads:
        for name, folder in (("packaged policy", PACKAGED_POLICY), ("rules about owners", EXAMPLE)):
            policy = load_snapshot(folder)
            first: dict[str, list[float]] = {"few": [], "many": []}
            later: dict[str, list[float]] = {"few": [], "many": []}
            for number in range(FIRST_SEARCHES):
                for kind, index in (("few", few), ("many", many)):
                    session = _Session(policy, index, threads, f"user-{2 * number}")
                    first[kind].append(await session.search(number))
                    later[kind] += [await session.search(each) for each in range(SEARCHES // FIRST_SEARCHES)]
            for what, seconds in (("first", first), ("later", later)):
                few_seconds, many_seconds = statistics.median(seconds["few"]), statistics.median(seconds["many"])
                figures += [
                    Figure(f"{name}: {what} search, few labels", few_seconds * 1e3, "ms"),
                    Figure(f"{name}: {what} search, an owner a row", many_seconds * 1e3, "ms"),
                    Figure(f"{name}: {what} search, many / few", many_seconds / few_seconds, "×", 2),
                ]
    label_bytes = (many.approximate_bytes - few.approximate_bytes) / rows
    return [*figures, Figure("memory a distinct label, as it is budgeted", label_bytes, "bytes")]


class _Session:
    """One caller, whom neither service has seen before."""

    def __init__(self, policy: PolicySnapshot, index: CollectionIndex, threads: StoreThreads, subject: str) -> None:
        self._policy = policy
        self._subject = subject
        self._reader = MemoryReader(index, threads, AnswerCache(0))
        self._visibility: Visibility | None = None

    async def search(self, number: int) -> float:
        """Seconds that a search takes, with its plan if it is the first."""
        vector = np.random.default_rng(number).standard_normal(DIMENSIONS).astype(np.float32)
        started = time.perf_counter()
        if self._visibility is None:
            self._visibility = Visibility(ResidualDecisions(), self._plan())
        answer = await self._reader.search(SearchOrder(vector, K), self._visibility)
        seconds = time.perf_counter() - started
        assert answer.results
        return seconds

    def _plan(self) -> Grant:
        tenant, role = self._policy.tenants[TENANT], self._policy.roles["analyst"]
        caller = Caller(self._subject, tenant, role, Sensitivity.INTERNAL, today=20300101)
        residual = self._policy.engine.plan(caller, tenant, Action.READ)
        return Grant(
            subject=self._subject,
            caller_tenant_id=TENANT,
            role=role.name,
            tenant_id=TENANT,
            action=Action.READ,
            residual=residual,
            may_configure=False,
            policy_version=self._policy.version,
            expires_at=time.time() + 60,
        )


def _index(rows: int, attributes: Callable[[int], tuple[tuple[str, str], ...]]) -> CollectionIndex:
    vectors = np.random.default_rng(0).standard_normal((rows, DIMENSIONS), dtype=np.float32)
    index = CollectionIndex(DIMENSIONS)
    for start in range(0, rows, _BATCH):
        index.apply(
            IndexChange(
                start + 1,
                upserted=[
                    Document(
                        f"doc-{row:06d}",
                        "a passage",
                        Label(
                            TENANT,
                            Sensitivity.INTERNAL if row % 2 == 0 else Sensitivity.SECRET,
                            frozenset({"rag"} if row % 3 else {"retrieval"}),
                            attributes(row),
                        ),
                        {"kind": "memo"},
                        vectors[row],
                    )
                    for row in range(start, min(start + _BATCH, rows))
                ],
            )
        )
    return index


@contextlib.asynccontextmanager
async def _threads() -> AsyncIterator[StoreThreads]:
    metrics = RetrievalMetrics(MeterProvider().get_meter("bench"))
    with contextlib.closing(StoreThreads(2, metrics.record_store_call)) as threads:
        yield threads
