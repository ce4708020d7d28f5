"""Remembered answers are those of a reader without memory, whatever happens in between, and the caller's own."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.retrieval.worlds import DIMENSIONS, delete, document, grant, label, up_to, upsert

from vecsec_chassis.domain.access import Grant
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import Equals, MetadataFilter
from vecsec_retrieval.model.rows import Document, ScoreParts, Vector
from vecsec_retrieval.search.fused_ranks import RankedRow
from vecsec_retrieval.search.memory_reader import (
    REMEMBERED,
    STRATEGY,
    AnswerCache,
    AnswerKey,
    CachedAnswer,
    MemoryReader,
)
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

ALICE = grant(up_to(Sensitivity.INTERNAL))
VALUES = (1, True, 1.0, "1")
"""Of which Python takes three for the same."""


def vector(seed: int) -> Vector:
    return direction(np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32))


def row(number: int, seed: int, sensitivity: Sensitivity = Sensitivity.PUBLIC) -> Document:
    return document(f"d{number}", vector(seed), label(sensitivity), {"x": VALUES[seed % len(VALUES)]})


@dataclass
class Desk:
    """An index, and somebody who remembers what was found in it."""

    index: CollectionIndex
    answers: AnswerCache
    threads: StoreThreads
    decisions: ResidualDecisions

    async def ask(
        self, cache_scope: Grant, seed: int, k: int = 3, metadata: MetadataFilter | None = None
    ) -> SearchAnswer:
        reader = MemoryReader(self.index, self.threads, self.answers)
        return await reader.search(SearchOrder(vector(seed), k, metadata), Visibility(self.decisions, cache_scope))

    async def ask_afresh(self, cache_scope: Grant, seed: int, k: int, metadata: MetadataFilter | None) -> SearchAnswer:
        reader = MemoryReader(self.index, self.threads, AnswerCache(0))
        return await reader.search(SearchOrder(vector(seed), k, metadata), Visibility(self.decisions, cache_scope))


@pytest.fixture(scope="module")
def threads() -> Iterator[StoreThreads]:
    with closing(StoreThreads(1, lambda _operation, _seconds: None)) as running:
        yield running


@pytest.fixture
def new_desk(threads: StoreThreads) -> Callable[[], Desk]:
    return lambda: Desk(CollectionIndex(DIMENSIONS), AnswerCache(2**20), threads, ResidualDecisions())


WRITES = st.tuples(st.just("write"), st.integers(0, 8), st.integers(0, 50), st.sampled_from(Sensitivity))
DELETES = st.tuples(st.just("delete"), st.integers(0, 8))
FILTERS = st.one_of(st.none(), st.sampled_from(VALUES).map(lambda value: Equals("x", value)))
QUESTIONS = st.tuples(st.just("ask"), st.sampled_from(Sensitivity), st.integers(0, 2), st.integers(1, 3), FILTERS)


@settings(max_examples=100)
@given(st.lists(st.one_of(WRITES, DELETES, QUESTIONS, QUESTIONS), max_size=40))
async def test_threat_10_an_answer_is_never_other_than_without_memory(
    threads: StoreThreads, steps: list[tuple[object, ...]]
) -> None:
    desk = Desk(CollectionIndex(DIMENSIONS), AnswerCache(2**20), threads, ResidualDecisions())
    for step in steps:
        match step:
            case ("write", int(number), int(seed), Sensitivity() as sensitivity):
                upsert(desk.index, [row(number, seed, sensitivity)])
            case ("delete", int(number)):
                delete(desk.index, [f"d{number}"])
            case ("ask", Sensitivity() as clearance, int(seed), int(k), condition):
                cache_scope = grant(up_to(clearance))
                remembering = await desk.ask(cache_scope, seed, k, condition)  # type: ignore[arg-type]
                fresh = await desk.ask_afresh(cache_scope, seed, k, condition)  # type: ignore[arg-type]
                assert replace(remembering, strategy="") == replace(fresh, strategy="")


async def test_the_same_question_is_answered_from_memory(new_desk: Callable[[], Desk]) -> None:
    desk = new_desk()
    upsert(desk.index, [row(number, number) for number in range(5)])
    first, second = await desk.ask(ALICE, 1), await desk.ask(ALICE, 1)
    assert (first.strategy, second.strategy) == (STRATEGY, REMEMBERED)
    assert first.results == second.results
    assert (desk.answers.lookups.hits, desk.answers.lookups.misses) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        replace(ALICE, subject="bob"),
        replace(ALICE, caller_tenant_id="tenant_b"),
        replace(ALICE, tenant_id="tenant_b"),
        replace(ALICE, policy_version="2"),
        replace(ALICE, residual=up_to(Sensitivity.PUBLIC)),
    ],
    ids=["another caller", "of another tenant", "in another tenant", "another policy", "other rules"],
)
async def test_threat_10_one_warms_and_the_other_misses(new_desk: Callable[[], Desk], other: Grant) -> None:
    desk = new_desk()
    upsert(desk.index, [row(number, number) for number in range(5)])
    await desk.ask(ALICE, 1)
    assert (await desk.ask(other, 1)).strategy == STRATEGY
    assert desk.answers.lookups.hits == 0


async def test_two_collections_with_the_same_rows_share_nothing(new_desk: Callable[[], Desk]) -> None:
    desk = new_desk()
    for _ in range(2):
        desk.index = CollectionIndex(DIMENSIONS)
        upsert(desk.index, [row(1, 1)])
        assert (await desk.ask(ALICE, 1)).strategy == STRATEGY


async def test_threat_10_a_remembered_row_that_the_caller_does_not_see_is_not_shown(
    new_desk: Callable[[], Desk],
) -> None:
    desk = new_desk()
    upsert(desk.index, [row(0, 0, Sensitivity.SECRET), *(row(number, number) for number in range(1, 9))])
    delete(desk.index, ["d2"])
    for wrong in (0, 2, 9):  # forbidden, deleted, of another index
        sight = Visibility(desk.decisions, ALICE)
        key = AnswerKey.of(desk.index.state, sight, SearchOrder(vector(1), 3))
        desk.answers.keep(key, CachedAnswer([RankedRow(wrong, 1.0, ScoreParts())], 0))
        answer = await desk.ask(ALICE, 1)
        assert "d0" not in {each.document.document_id for each in answer.results}
        assert answer == await desk.ask_afresh(ALICE, 1, 3, None)


async def test_memory_is_bounded(new_desk: Callable[[], Desk]) -> None:
    desk = new_desk()
    desk.answers = AnswerCache(4 * (1024 + len(ALICE.residual)))
    upsert(desk.index, [row(1, 1)])
    for seed in range(20):
        await desk.ask(ALICE, seed)
    assert (await desk.ask(ALICE, 19)).strategy == REMEMBERED
    assert (await desk.ask(ALICE, 0)).strategy == STRATEGY, "had to go"
    desk.answers = AnswerCache(1)
    for _ in range(2):
        assert (await desk.ask(ALICE, 1)).strategy == STRATEGY, "there is no room for it"
