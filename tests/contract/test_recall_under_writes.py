"""Searches beside writes and deletes, by every strategy, against brute force over what was acknowledged.

What is there while a search runs is not one set of rows. So each version of a document notes when it was begun to be
written, acknowledged, begun to be removed and gone; a search may find what was there at any moment of it, and must not
miss what was there all the time.
"""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from contract.fake_store import FakeCell, FakeCellStore
from unit.retrieval.worlds import World, eyes, up_to, world

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.rows import CollectionInfo, Document, Neighbour, Vector
from vecsec_retrieval.model.store import CellStore, RowCondition
from vecsec_retrieval.search.memory_reader import STRATEGY
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_search import EXHAUSTIVE, FILTERED, OVERFETCH, WIDENED
from vecsec_retrieval.stores.embedded.store import EmbeddedCellStore
from vecsec_retrieval.visibility.tagging import to_stored

TENANT = "tenant_a"
DIMENSIONS = 16
ROWS, IDS, WRITES, SEARCHES = 700, 900, 15, 15
K = 10
SHARES = (0.02, 0.10, 0.38, 0.50)
ENOUGH_RECALL = 0.9
ALL_MEMORY, NO_MEMORY = 2**30, 2
LITTLE_MEMORY = 700_000
"""Enough for the ids and labels of so many rows, but not for the rows: they are in a snapshot, mapped into memory."""


@dataclass
class Version:
    """A document while it is in the store; moments are numbered."""

    document: Document
    written: int
    acknowledged: float = float("inf")
    removal_begun: float = float("inf")
    gone: float = float("inf")


class History:
    """All versions that ever were, and what a search may and must find of them."""

    def __init__(self) -> None:
        self._moments = itertools.count()
        self._versions: dict[str, list[Version]] = defaultdict(list)

    def now(self) -> int:
        return next(self._moments)

    def begin(self, written: list[Document], removed: list[str]) -> tuple[list[Version], list[Version]]:
        replaced = {document.document_id for document in written} | set(removed)
        old = [version for each in replaced for version in self._versions[each] if version.gone == float("inf")]
        moment = self.now()
        for version in old:
            version.removal_begun = moment
        new = [Version(document, moment) for document in written]
        for version in new:
            self._versions[version.document.document_id].append(version)
        return new, old

    def end(self, new: list[Version], old: list[Version]) -> None:
        moment = self.now()
        for version in new:
            version.acknowledged = moment
        for version in old:
            version.gone = moment

    def possible(self, document_id: str, start: int, end: int) -> Iterator[Version]:
        return (each for each in self._versions[document_id] if each.written < end and each.gone > start)

    def certain(self, start: int, end: int) -> Iterator[Version]:
        versions = (version for versions in self._versions.values() for version in versions)
        return (each for each in versions if each.acknowledged < start and each.removal_begun > end)


class ForgetfulCell(FakeCell):
    """Its approximate index finds next to nothing."""

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        return super().nearest(collection_id, vector, count, condition)[:2]


class ForgetfulStore(FakeCellStore):
    """A store of forgetful cells."""

    def open(self, tenant_id: str, *, create: bool) -> FakeCell | None:
        cell = super().open(tenant_id, create=create)
        if cell is None:
            return None
        self.cells[tenant_id] = ForgetfulCell(
            cell.tenant_id, cell.before, cell.infos, cell.rows, cell.lock, log=cell.log
        )
        return self.cells[tenant_id]


@dataclass
class Run:
    """One run: who writes, who searches, and what came of it."""

    here: World
    history: History
    random: np.random.Generator
    strategies: Counter[str]
    hits: int = 0
    wanted: int = 0

    def document(self, number: int) -> Document:
        sensitivity = Sensitivity(int(self.random.choice(np.array(Sensitivity), p=SHARES)))
        vector = self.random.standard_normal(DIMENSIONS).astype(np.float32)
        return Document(f"d{number}", f"text {number}", Label(TENANT, sensitivity, frozenset({"a"})), {}, vector)

    async def write(self, written: list[Document], removed: list[str]) -> None:
        async with self.here.cells.lease(TENANT) as cell:
            assert cell is not None
            async with cell.writer:
                collection = await _collection(cell)
                new, old = self.history.begin(written, removed)
                entries = collection.catalogue.missing_entries(written)

                def store() -> int:
                    collection.catalogue.store(entries)
                    if written:
                        cell.cell.upsert("documents", [to_stored(each) for each in written])
                    return cell.cell.delete("documents", removed)

                def remember(position: int) -> None:
                    collection.catalogue.add(entries)
                    collection.apply(IndexChange(position, written))
                    collection.apply(IndexChange(position, deleted=removed))
                    self.history.end(new, old)

                await cell.write("write", store, remember)

    async def writes(self) -> None:
        for _ in range(WRITES):
            numbers = self.random.choice(IDS, 30, replace=False).tolist()
            await self.write([self.document(each) for each in numbers[:20]], [f"d{each}" for each in numbers[20:]])
            await asyncio.sleep(0)

    async def searches(self) -> None:
        for _ in range(SEARCHES):
            clearance = Sensitivity(int(self.random.choice(np.array(Sensitivity))))
            query = direction(self.random.standard_normal(DIMENSIONS).astype(np.float32))
            start = self.history.now()
            async with self.here.cells.lease(TENANT) as cell:
                assert cell is not None
                reader = await (await _collection(cell)).reader_after_load()
                answer = await reader.search(SearchOrder(query, K), eyes(up_to(clearance)))
            self.judge(answer, query, clearance, start, self.history.now())
            await asyncio.sleep(0)

    def judge(self, answer: SearchAnswer, query: Vector, clearance: Sensitivity, start: int, end: int) -> None:
        self.strategies[answer.strategy] += 1
        scores = [result.score for result in answer.results]
        assert scores == sorted(scores, reverse=True)
        for result in answer.results:
            assert any(
                _is_visible(version, clearance) and abs(_cosine(version, query) - result.score) < 1e-5
                for version in self.history.possible(result.document.document_id, start, end)
            )
        certain = [each for each in self.history.certain(start, end) if _is_visible(each, clearance)]
        worst = scores[-1] if len(scores) == K else -2.0
        missing = {each.document.document_id for each in certain if _cosine(each, query) > worst + 1e-5}
        missing -= {result.document.document_id for result in answer.results}
        assert len(scores) >= min(K, len(certain))
        if answer.strategy in {STRATEGY, EXHAUSTIVE}:
            assert not missing
        self.hits, self.wanted = self.hits + K - min(K, len(missing)), self.wanted + K


@pytest.mark.parametrize(
    ("kind", "limit_bytes", "expected"),
    [
        ("fake", ALL_MEMORY, {STRATEGY}),
        ("fake", NO_MEMORY, {OVERFETCH, WIDENED, FILTERED}),
        ("fake", LITTLE_MEMORY, {STRATEGY}),
        ("forgetful", NO_MEMORY, {EXHAUSTIVE}),
        ("embedded", ALL_MEMORY, {STRATEGY}),
        ("embedded", LITTLE_MEMORY, {STRATEGY}),
        ("embedded", NO_MEMORY, {OVERFETCH, FILTERED}),
    ],
)
async def test_nothing_wrong_is_found_and_nothing_lasting_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit_bytes: int, expected: set[str]
) -> None:
    if limit_bytes == LITTLE_MEMORY:
        monkeypatch.setattr("vecsec_retrieval.cells.open_collection._MAPPED_FROM_BYTES", 0)
        monkeypatch.setattr("vecsec_retrieval.cells.open_collection._FEWEST_CHANGES_SAVED", 30)
    stores: dict[str, type[FakeCellStore]] = {"fake": FakeCellStore, "forgetful": ForgetfulStore}
    store: CellStore = EmbeddedCellStore(tmp_path) if kind == "embedded" else stores[kind]()
    with closing(store):
        async with world(store, limit_bytes=limit_bytes, most_awake=1) as here:
            run = Run(here, History(), np.random.default_rng(1), Counter())
            async with here.cells.lease(TENANT, create=True) as cell:
                assert cell is not None
                await cell.create_collection(CollectionInfo("documents", "external", DIMENSIONS))
            await run.write([run.document(number) for number in range(ROWS)], [])
            await asyncio.gather(run.writes(), run.searches(), run.searches())
    assert run.hits / run.wanted >= ENOUGH_RECALL
    assert expected <= run.strategies.keys()


async def _collection(cell: OpenCell) -> OpenCollection:
    collection = await cell.collection("documents")
    assert collection is not None
    return collection


def _is_visible(version: Version, clearance: Sensitivity) -> bool:
    sensitivity = version.document.label.sensitivity
    return sensitivity is not None and sensitivity <= clearance


def _cosine(version: Version, query: Vector) -> float:
    embedding = version.document.embedding
    assert embedding is not None
    return float(embedding @ query / np.linalg.norm(embedding) / np.linalg.norm(query))
