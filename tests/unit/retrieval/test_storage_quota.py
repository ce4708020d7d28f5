"""What a tenant stores is counted as it is, and held to its grant as it is when it is written."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from structlog.testing import capture_logs
from unit.retrieval.worlds import DIMENSIONS, TENANT, Recorder, World, grant, metrics, permit, world

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidGrant, TenantLimit
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.tenant_limits import StorageLimits
from vecsec_retrieval.model.embeddings import EmbeddingModels
from vecsec_retrieval.use_cases.collection_search import CollectionSearch
from vecsec_retrieval.use_cases.documents import DocumentAccess
from vecsec_retrieval.use_cases.import_documents import BatchStore, ImportBatch
from vecsec_retrieval.use_cases.import_rules import NewDocument
from vecsec_retrieval.use_cases.storage_quota import StorageQuota
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

ROOMY = StorageLimits(rows=1_000, bytes=1 << 40, import_rows_per_second=1_000.0)
EXTERNAL = EmbeddingModels({}, "external")


def eyes(action: Action = Action.WRITE, storage: StorageLimits = ROOMY, expires_at: float = 2e9) -> Visibility:
    allowed = replace(grant(permit(), action), storage=storage, expires_at=expires_at)
    return Visibility(ResidualDecisions(), allowed)


def batch(*ids: str) -> ImportBatch:
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    documents = [NewDocument(each, "text", Sensitivity.PUBLIC, frozenset({"a"}), embedding=vector) for each in ids]
    return ImportBatch("", "documents", documents)


class Allowing:
    """Stands for verified grants, which have so long to live."""

    seconds = 60.0

    async def require(self, _token: str, action: Action) -> Visibility:
        return eyes(action, expires_at=time.time() + self.seconds)


def deletions(here: World, permissions: Allowing) -> DocumentAccess:
    return DocumentAccess(
        permissions,  # type: ignore[arg-type]
        here.cells,
        CollectionSearch(EXTERNAL, max_answer_bytes=1 << 20),
        here.metrics,
        max_answer_bytes=1 << 20,
    )


async def counted_and_stored(here: World) -> tuple[int, int]:
    async with here.cells.lease(TENANT) as cell:
        assert cell is not None
        async with cell.writer:
            return await cell.row_count(), await asyncio.to_thread(cell.cell.row_count)


async def cancelled_during(operation: str, recorder: Recorder, call: Coroutine[Any, Any, object]) -> None:
    """Cancel the call while the store does it."""
    recorder.held = {operation}
    seen = recorder.operations.count(operation)
    task = asyncio.create_task(call)
    while recorder.operations.count(operation) == seen:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0)
    recorder.go.set()
    await asyncio.wait([task])
    assert task.cancelled()
    recorder.held = set()
    recorder.go.clear()


async def test_rows_are_counted_also_where_the_call_is_cancelled_meanwhile(
    store: FakeCellStore, recorder: Recorder
) -> None:
    async with world(store) as here:
        batches = BatchStore(here.cells, EXTERNAL, StorageQuota(metrics()))
        access = deletions(here, Allowing())
        await batches.store(batch("a", "b"), eyes())
        assert await counted_and_stored(here) == (2, 2)
        await cancelled_during("upsert", recorder, batches.store(batch("b", "c", "d"), eyes()))
        assert await counted_and_stored(here) == (4, 4)
        await cancelled_during("delete", recorder, access.delete("", "documents", ["a", "b", "c"]))
        assert await counted_and_stored(here) == (1, 1)


async def test_a_grant_that_expires_while_its_call_waits_for_its_turn_changes_nothing(store: FakeCellStore) -> None:
    async with world(store) as here:
        quota = StorageQuota(metrics())
        batches = BatchStore(here.cells, EXTERNAL, quota)
        await batches.store(batch("a", "b"), eyes())
        allowing = Allowing()
        allowing.seconds = 0.2
        async with here.cells.lease(TENANT) as cell:
            assert cell is not None
            async with quota.turn(TENANT):
                waiting = asyncio.create_task(batches.store(batch("c"), eyes(expires_at=time.time() + 0.2)))
                await asyncio.sleep(0.25)
            with pytest.raises(InvalidGrant):
                await waiting
            async with cell.writer:  # an import has its turn, and waits here for another writer
                waiting = asyncio.create_task(batches.store(batch("c"), eyes(expires_at=time.time() + 0.2)))
                deletion = asyncio.create_task(deletions(here, allowing).delete("", "documents", ["a"]))
                await asyncio.sleep(0.25)
            for late in (waiting, deletion):
                with pytest.raises(InvalidGrant):
                    await late
        assert await counted_and_stored(here) == (2, 2)


async def test_a_grant_that_expires_while_an_import_is_slowed_down_stores_nothing(store: FakeCellStore) -> None:
    slow = StorageLimits(rows=1_000, bytes=1 << 40, import_rows_per_second=2.0)
    async with world(store) as here:
        batches = BatchStore(here.cells, EXTERNAL, StorageQuota(metrics()))
        await batches.store(batch("a", "b", "c", "d"), eyes(storage=slow))
        with pytest.raises(InvalidGrant):
            await batches.store(batch("e"), eyes(storage=slow, expires_at=time.time() + 0.2))
        assert await counted_and_stored(here) == (4, 4)


async def test_who_has_little_room_left_is_told_of_once_before_anything_is_refused(store: FakeCellStore) -> None:
    small = StorageLimits(rows=5, bytes=1 << 40, import_rows_per_second=1_000.0)
    now = 1_000.0
    async with world(store) as here:
        batches = BatchStore(here.cells, EXTERNAL, StorageQuota(metrics(), clock=lambda: now))
        with capture_logs() as logs:
            await batches.store(batch("a", "b", "c"), eyes(storage=small))
            assert not logs
            await batches.store(batch("d"), eyes(storage=small))
            await batches.store(batch("e"), eyes(storage=small))
            told = [line for line in logs if line["event"].startswith("tenant is near a limit")]
            assert [(line["tenant_id"], line["limit"], line["used_percent"]) for line in told] == [(TENANT, "rows", 80)]
            now += 3_601
            with pytest.raises(TenantLimit):
                await batches.store(batch("f"), eyes(storage=small))
