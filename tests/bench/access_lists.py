"""What access lists cost: a collection whose rows name their readers, for callers whom nobody has seen before."""

import asyncio
import contextlib
import resource
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.random import Generator
from opentelemetry.sdk.metrics import MeterProvider

from bench.corpus import DIMENSIONS
from bench.findings import Figure, Findings, Task
from vecsec_chassis.auth.grants import GrantSigner
from vecsec_chassis.domain.access import Action, Grant, Identity
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.in_force.evaluation import decide_entry, decide_rows
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
GROUPS_IN_ALL, GROUPS_OF_A_CALLER, MOST_GROUPS = 20_000, 200, 1_000
LONGEST_LIST = 20
LATER_SEARCHES = 200
_BATCH = 1_000


def introduction(rows: int, lists: int, callers: int) -> str:
    return (
        f"{rows:,} rows in memory, k={K}: those of one collection have {lists:,} distinct access lists of 1 to "
        f"{LONGEST_LIST} entries, out of {GROUPS_IN_ALL:,} groups and as many people; those of the other have none. "
        f"{callers:,} callers, each of {GROUPS_OF_A_CALLER} groups, whom neither service has seen before, come one "
        "after the other. *First* is such a caller's plan, signed, with the mask and the search; *check* the verdicts "
        "on what was found, by the policy service. Inside the services, without their wires. *Later* is the same "
        "caller again, in turns with one of the collection without lists."
    )


def measure(task: Task) -> Findings:
    """The figures."""
    rows = task.number("list-rows", full=100_000, quick=10_000)
    lists = task.number("lists", full=10_000, quick=1_000)
    callers = task.number("list-callers", full=1_000, quick=50)
    return Findings(introduction(rows, lists, callers), asyncio.run(_measure(rows, lists, callers)))


@dataclass(slots=True)
class _Seconds:
    first: list[float]
    check: list[float]
    later_with: list[float]
    later_without: list[float]


async def _measure(rows: int, lists: int, callers: int) -> list[Figure]:
    chance = np.random.default_rng(7)
    distinct = [_access_list(chance, number) for number in range(lists)]
    with_lists, without = _index(rows, distinct), _index(rows, [])
    policy = load_snapshot(PACKAGED_POLICY)
    seconds = _Seconds([], [], [], [])
    grant_bytes = {}
    async with _threads() as threads:
        desk = _Desk(policy, MemoryReader(with_lists, threads, AnswerCache(0)), ResidualDecisions())
        other = _Desk(policy, MemoryReader(without, threads, AnswerCache(0)), ResidualDecisions())
        memory: list[int] = []
        for number in range(callers):
            first, check = await desk.first_search(_caller(chance, f"user-{number}", GROUPS_OF_A_CALLER), number)
            seconds.first.append(first)
            seconds.check.append(check)
            if number in {callers // 2, callers - 1}:
                memory.append(_resident_bytes())
        for groups in (GROUPS_OF_A_CALLER, MOST_GROUPS):
            eyes = desk.plan(_caller(chance, "somebody", groups))
            grant_bytes[groups] = len(desk.signed)
        eyes_without = other.plan(_caller(chance, "somebody", 0))
        for number in range(LATER_SEARCHES):
            seconds.later_with.append(await desk.search(eyes, number))
            seconds.later_without.append(await other.search(eyes_without, number))
    later = statistics.median(seconds.later_with[10:]) / statistics.median(seconds.later_without[10:])
    quarter = len(seconds.first) // 4
    return [
        Figure("first search, p50", _percentile(seconds.first, 50), "ms"),
        Figure("first search, p95", _percentile(seconds.first, 95), "ms", goal=20),
        Figure(
            "first search, the last quarter of callers, p95", _percentile(seconds.first[-quarter:], 95), "ms", goal=20
        ),
        Figure("check of what was found, p95", _percentile(seconds.check, 95), "ms"),
        Figure("later search, with lists / without", later, "×", goal=1.2),
        Figure(f"grant of a caller with {GROUPS_OF_A_CALLER} groups", grant_bytes[GROUPS_OF_A_CALLER], "bytes"),
        Figure(f"grant of a caller with {MOST_GROUPS:,} groups", grant_bytes[MOST_GROUPS], "bytes", goal=16_384),
        Figure("memory, the second half of callers", (memory[1] - memory[0]) / 2**20, "MiB", goal=20),
        Figure(
            "memory of a row's access list, as it is budgeted", (_bytes(with_lists) - _bytes(without)) / rows, "bytes"
        ),
    ]


class _Desk:
    """Both services' parts of a search."""

    def __init__(self, policy: PolicySnapshot, reader: MemoryReader, decisions: ResidualDecisions) -> None:
        self._policy = policy
        self._reader = reader
        self._decisions = decisions
        self._signer = GrantSigner(Ed25519PrivateKey.generate(), "key")
        self.signed = ""

    async def first_search(self, identity: Identity, number: int) -> tuple[float, float]:
        """Seconds of a search with its plan, and of the check."""
        vector = _vector(number)
        started = time.perf_counter()
        answer = await self._reader.search(SearchOrder(vector, K), self.plan(identity))
        found = time.perf_counter()
        access = decide_entry(self._policy, identity, TENANT, Action.READ, now=time.time())
        verdicts = decide_rows(access, [each.document.label for each in answer.results])
        checked = time.perf_counter()
        assert answer.results
        assert all(verdict.allowed for verdict in verdicts)
        return found - started, checked - found

    def plan(self, identity: Identity) -> Visibility:
        """What a new caller sees."""
        access = decide_entry(self._policy, identity, TENANT, Action.READ, now=time.time())
        engine = self._policy.engine
        residual = engine.plan(access.caller, access.target, Action.READ)
        grant = Grant(
            subject=identity.subject,
            caller_tenant_id=TENANT,
            role=identity.role,
            tenant_id=TENANT,
            action=Action.READ,
            residual=residual,
            may_configure=False,
            policy_version=self._policy.version,
            expires_at=time.time() + 60,
            sets=engine.sets_of(access.caller, residual),
        )
        self.signed = self._signer.sign(grant)
        return Visibility(self._decisions, grant)

    async def search(self, eyes: Visibility, number: int) -> float:
        """Seconds of a search."""
        vector = _vector(number)
        started = time.perf_counter()
        answer = await self._reader.search(SearchOrder(vector, K), eyes)
        seconds = time.perf_counter() - started
        assert answer.results
        return seconds


def _caller(chance: Generator, subject: str, groups: int) -> Identity:
    chosen = sorted({_group(int(number)) for number in chance.integers(0, GROUPS_IN_ALL, groups)})
    return Identity(subject, TENANT, "analyst", Sensitivity.INTERNAL, "issuer", time.time() + 600, tuple(chosen))


def _access_list(chance: Generator, number: int) -> frozenset[str]:
    length = 1 + number % LONGEST_LIST
    return frozenset(
        f"group:{_group(int(each))}" if each % 4 else f"user:user-{each}"
        for each in chance.integers(0, GROUPS_IN_ALL, length)
    ) | {f"group:only-{number}"}


def _group(number: int) -> str:
    return f"sg-emea-department-{number:05d}"


def _index(rows: int, lists: Sequence[frozenset[str]]) -> CollectionIndex:
    vectors = np.random.default_rng(0).standard_normal((rows, DIMENSIONS), dtype=np.float32)
    index = CollectionIndex(DIMENSIONS)
    for start in range(0, rows, _BATCH):
        chosen = range(start, min(start + _BATCH, rows))
        documents = [
            Document(f"doc-{row:06d}", "a passage", _label(row, lists), {"kind": "memo"}, vectors[row])
            for row in chosen
        ]
        index.apply(IndexChange(start + 1, upserted=documents))
    return index


def _label(row: int, lists: Sequence[frozenset[str]]) -> Label:
    attributes: tuple[tuple[str, AttributeValue], ...] = ((READERS, lists[row % len(lists)]),) if lists else ()
    return Label(TENANT, Sensitivity.INTERNAL, frozenset({"rag"} if row % 3 else {"retrieval"}), attributes)


def _vector(number: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.random.default_rng(number).standard_normal(DIMENSIONS).astype(np.float32)


def _percentile(seconds: Sequence[float], share: int) -> float:
    return float(np.percentile(seconds, share)) * 1e3


def _bytes(index: CollectionIndex) -> int:
    return index.approximate_bytes


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


@contextlib.asynccontextmanager
async def _threads() -> AsyncIterator[StoreThreads]:
    metrics = RetrievalMetrics(MeterProvider().get_meter("bench"))
    with contextlib.closing(StoreThreads(2, metrics.record_store_call)) as threads:
        yield threads
