"""Nothing holds an event loop: the three services under load, watched callback by callback."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.loop_watch import watched_loop
from support.stack import Stack, bearer, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import document_pb2, sensitivity_pb2, value_pb2

LARGEST_BATCH = 1_000
LABELS = 100
LIMIT_SECONDS = 0.05


def batch(first: int, *, characters: int) -> pb.ImportDocumentsRequest:
    """As many documents as a batch may hold, each with a vector, of some labels."""
    random = np.random.default_rng(first)
    documents = [
        document_pb2.DocumentInput(
            document_id=f"d{number}",
            text=f"passage {number} " * (characters // 14),
            sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC,
            topics=["marketing"],
            attributes={"owner": value_pb2.Value(string_value=f"owner-{number % LABELS}")},
            metadata={"page": value_pb2.Value(integer_value=number)},
            embedding=random.standard_normal(256).astype(np.float32),
        )
        for number in range(first, first + LARGEST_BATCH)
    ]
    return pb.ImportDocumentsRequest(tenant_id="tenant_a", documents=documents, embedding_model="wordllama")


def compute(seconds: float) -> None:
    """Hold the loop by computing."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def sleep(seconds: float) -> None:
    """Hold the loop by waiting."""
    time.sleep(seconds)


class Load:
    """What goes on at the same time."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.done = asyncio.Event()
        self.admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET", "root"))
        self.searches = 0

    async def search_on(self, k: int) -> None:
        """Search until all else is done."""
        token = self.stack.issuer.token()
        while not self.done.is_set():
            self.searches += 1
            answer = await self.stack.search(token, "tenant_a", f"passage {self.searches % 100}", k)
            assert answer.results

    async def change_policy(self) -> None:
        """Give a role another clearance, and wait until that is in force."""
        token, rules = self.stack.issuer.token(), self.stack.policy_folder / "roles.yaml"
        before = (await self.stack.search(token, "tenant_a")).policy_version
        rules.write_text(rules.read_text().replace("max_clearance: INTERNAL", "max_clearance: PUBLIC", 1))

        async def is_in_force() -> bool:
            return (await self.stack.search(token, "tenant_a")).policy_version != before

        await until(is_in_force)

    async def store(self, request: pb.ImportDocumentsRequest) -> None:
        """Import a batch."""
        async for _ in self.stack.gateway.ImportDocuments(iter([request]), metadata=self.admin):
            pass

    async def write(self, request: pb.ImportDocumentsRequest) -> None:
        """Import a batch, then delete most of it, so that the index is compacted."""
        await self.store(request)
        ids = [each.document_id for each in request.documents][: LARGEST_BATCH * 3 // 4]
        delete = pb.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=ids)
        assert (await self.stack.gateway.DeleteDocuments(delete, metadata=self.admin)).deleted_count == len(ids)

    async def list_labels(self) -> None:
        """The largest page of labels."""
        request = pb.ListLabelsRequest(tenant_id="tenant_a", page_size=LARGEST_BATCH)
        assert (await self.stack.gateway.ListLabels(request, metadata=self.admin)).labels


async def test_under_load_no_callback_holds_a_loop(tmp_path: Path) -> None:
    small, large = batch(0, characters=300), batch(LARGEST_BATCH, characters=2_000)
    async with running_stack(tmp_path) as stack:
        load = Load(stack)
        await load.store(small)
        await load.list_labels()
        with watched_loop(LIMIT_SECONDS) as watch:
            async with asyncio.TaskGroup() as searching:
                for k in (10, 10, 10, LARGEST_BATCH):
                    searching.create_task(load.search_on(k))
                await asyncio.gather(load.change_policy(), load.write(large), load.list_labels())
                load.done.set()
        assert load.searches > 0
        assert watch.callbacks > 0
        assert not watch.held, str(watch)


@pytest.mark.parametrize("block", [compute, sleep], ids=["computing", "sleeping"])
async def test_a_callback_that_holds_the_loop_is_named(block: Callable[[float], None]) -> None:
    async def culprit() -> None:
        block(LIMIT_SECONDS + 0.01)

    async def innocent() -> None:
        for _ in range(10):
            block(LIMIT_SECONDS / 10)
            await asyncio.sleep(0)

    with watched_loop(LIMIT_SECONDS) as watch:
        await asyncio.gather(asyncio.create_task(innocent()), asyncio.create_task(culprit()))
    assert len(watch.held) == 1, str(watch)
    assert "culprit" in watch.held[0].callback
    assert watch.held[0].seconds > LIMIT_SECONDS
