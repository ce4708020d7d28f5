"""Small worlds for the tests of retrieval: labels, documents, grants, and a store in memory."""

import json
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contract.fake_store import FakeCellStore
from opentelemetry.metrics import NoOpMeter

from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_cells import OpenCells
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.memory.budget import MemoryBudget
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.memory.snapshot_format import SnapshotSource
from vecsec_retrieval.memory.snapshot_making import write_moment
from vecsec_retrieval.memory.snapshot_rows import SnapshotRows
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.rows import CollectionInfo, Document, Metadata, Vector
from vecsec_retrieval.model.store import CellStore
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility
from vecsec_retrieval.visibility.tagging import to_stored

TENANT = "tenant_a"
DIMENSIONS = 6
INFO = CollectionInfo("documents", "external", DIMENSIONS)


def label(
    sensitivity: Sensitivity = Sensitivity.PUBLIC,
    topics: Iterable[str] = ("a",),
    tenant_id: str = TENANT,
    **attributes: AttributeValue,
) -> Label:
    return Label(tenant_id, sensitivity, frozenset(topics), canonical_attributes(attributes))


def document(
    document_id: str,
    embedding: Vector | None = None,
    of: Label | None = None,
    metadata: Metadata | None = None,
    text: str | None = None,
) -> Document:
    vector = np.ones(DIMENSIONS, dtype=np.float32) if embedding is None else embedding
    return Document(document_id, text or f"text of {document_id}", of or label(), metadata or {}, vector)


def permit(condition: dict[str, Any] | None = None) -> str:
    """A residual that permits what holds the condition, an expression in Cedar's JSON format; without one, all."""
    conditions = [] if condition is None else [{"kind": "when", "body": condition}]
    everything = {"op": "All"}
    policy = {
        "effect": "permit",
        "principal": everything,
        "action": everything,
        "resource": everything,
        "conditions": conditions,
    }
    return json.dumps({"templates": {}, "templateLinks": [], "staticPolicies": {"policy": policy}})


def attribute(name: str) -> dict[str, Any]:
    return {".": {"left": {"Var": "resource"}, "attr": name}}


def up_to(sensitivity: Sensitivity) -> str:
    """A residual that permits labels up to a sensitivity."""
    return permit({"<=": {"left": attribute("sensitivity"), "right": {"Value": int(sensitivity)}}})


def grant(residual: str, action: Action = Action.READ, tenant_id: str = TENANT) -> Grant:
    return Grant(
        subject="alice",
        caller_tenant_id=tenant_id,
        role="analyst",
        tenant_id=tenant_id,
        action=action,
        residual=residual,
        may_configure=False,
        policy_version="1",
        expires_at=2e9,
    )


def eyes(residual: str, action: Action = Action.READ) -> Visibility:
    """A grant's eyes."""
    return Visibility(ResidualDecisions(), grant(residual, action))


def metrics() -> RetrievalMetrics:
    return RetrievalMetrics(NoOpMeter("test"))


@dataclass
class World:
    """Open cells over a store."""

    store: CellStore
    threads: StoreThreads
    metrics: RetrievalMetrics
    budget: MemoryBudget
    cells: OpenCells


@asynccontextmanager
async def world(
    store: CellStore | None = None,
    *,
    limit_bytes: int = 2**30,
    most_awake: int = 100,
    workers: int = 4,
) -> AsyncIterator[World]:
    """Cells that are closed in the end, over a fake store unless told otherwise."""
    store = store or FakeCellStore()
    instruments = metrics()
    with closing(StoreThreads(workers, instruments.record_store_call)) as threads:
        budget = MemoryBudget(limit_bytes)
        cells = OpenCells(
            store,
            threads=threads,
            budget=budget,
            most_awake=most_awake,
            metrics=instruments,
        )
        try:
            yield World(store, threads, instruments, budget, cells)
        finally:
            await cells.aclose()


class Recorder:
    """Notes what a fake store is asked, and can hold an operation up or fail it."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.held: set[str] = set()
        self.go = threading.Event()

    def __call__(self, operation: str) -> None:
        self.operations.append(operation)
        if operation in self.failures:
            raise self.failures[operation]
        if operation in self.held:
            assert self.go.wait(60)


def upsert(index: CollectionIndex, documents: Sequence[Document]) -> None:
    index.apply(IndexChange(index.position + 1, upserted=documents))


def delete(index: CollectionIndex, document_ids: Iterable[str]) -> None:
    index.apply(IndexChange(index.position + 1, deleted=list(document_ids)))


def saved(index: CollectionIndex, path: Path, mapped_from_bytes: int = 0) -> CollectionIndex:
    """An index of a snapshot of this one."""
    source = SnapshotSource(TENANT, "documents", DIMENSIONS)
    checksum = write_moment(path, source, index.moment(), frozenset(index.untagged_ids))
    return CollectionIndex(DIMENSIONS, SnapshotRows(path, source, checksum, mapped_from_bytes), index.position)


def seed(store: FakeCellStore, *tenant_ids: str, rows: int = 3) -> None:
    before, store.before = store.before, lambda _operation: None
    for tenant_id in tenant_ids:
        cell = store.open(tenant_id, create=True)
        assert cell is not None
        cell.create_collection(INFO)
        documents = [document(str(number)) for number in range(rows)]
        cell.upsert("documents", [to_stored(each) for each in documents])
    store.before = before


async def collection_of(cell: OpenCell | None) -> OpenCollection:
    assert cell is not None
    collection = await cell.collection("documents")
    assert collection is not None
    return collection


async def add(here: World, tenant_id: str, documents: list[Document]) -> None:
    async with here.cells.lease(tenant_id, create=True) as cell:
        assert cell is not None
        async with cell.writer:
            collection = await cell.collection("documents")
            if collection is None:
                collection = await cell.create_collection(INFO)
                collection.begin_empty()
            written = collection
            written.catalogue.add(written.catalogue.missing_entries(documents))
            await cell.write(
                "upsert",
                lambda: cell.cell.upsert("documents", [to_stored(each) for each in documents]),
                lambda position: written.apply(IndexChange(position, upserted=documents)),
            )
