"""Searches of collections whose vectors are in a file, against brute force, whatever is written meanwhile."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from support.waiting import until
from unit.retrieval.worlds import (
    DIMENSIONS,
    INFO,
    TENANT,
    Recorder,
    World,
    collection_of,
    document,
    eyes,
    label,
    permit,
    up_to,
    world,
)

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import Equals, MetadataFilter, Range, predicate
from vecsec_retrieval.model.rows import Document, Vector
from vecsec_retrieval.search.mapped_search import STRATEGY
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.search.store_search import FILTERED, NOTHING_VISIBLE, OVERFETCH
from vecsec_retrieval.visibility.tagging import to_stored

ROWS, K = 6_000, 10
LIMIT = 3_000_000
"""Enough for their ids and labels, but not for the rows."""
EVERYBODY_SEES = {Sensitivity.PUBLIC: 0.001, Sensitivity.INTERNAL: 0.01, Sensitivity.CONFIDENTIAL: 0.1}
RANDOM = np.random.default_rng(5)


def vector() -> Vector:
    return RANDOM.standard_normal(DIMENSIONS).astype(np.float32)


def sensitivity(number: int) -> Sensitivity:
    share = number % 1_000 / 1_000
    return next((each for each, below in EVERYBODY_SEES.items() if share < below), Sensitivity.SECRET)


def documents(count: int = ROWS) -> dict[str, Document]:
    made = [document(f"d{n}", vector(), label(sensitivity(n)), {"n": n, "odd": n % 2 == 1}) for n in range(count)]
    return {each.document_id: each for each in made}


def nearest(
    rows: dict[str, Document], query: Vector, clearance: Sensitivity, condition: MetadataFilter | None = None
) -> list[str]:
    holds: Callable[..., bool] = (lambda _metadata: True) if condition is None else predicate(condition)
    scored = [
        (-float(direction(each.embedding).astype(np.float64) @ query), each.document_id)
        for each in rows.values()
        if each.embedding is not None
        and each.label.sensitivity is not None
        and each.label.sensitivity <= clearance
        and holds(each.metadata)
    ]
    return [document_id for _, document_id in sorted(scored)[:K]]


@asynccontextmanager
async def mapped(
    store: FakeCellStore, rows: dict[str, Document], vector_folder: Path | None = None
) -> AsyncIterator[tuple[World, OpenCell, OpenCollection]]:
    """A collection of these rows that memory is too small for, after its load."""
    stored = store.open(TENANT, create=True)
    assert stored is not None
    stored.create_collection(INFO)
    stored.upsert("documents", [to_stored(each) for each in rows.values()])
    async with world(store, limit_bytes=LIMIT, vector_folder=vector_folder) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert cell is not None
        collection.catalogue.store(entries := collection.catalogue.missing_entries(rows.values()))
        collection.catalogue.add(entries)
        collection.start_loading()
        await collection.loaded()
        yield here, cell, collection


async def write(cell: OpenCell, collection: OpenCollection, written: list[Document], removed: list[str]) -> None:
    def store() -> None:
        cell.cell.upsert("documents", [to_stored(each) for each in written])
        cell.cell.delete("documents", removed)

    def remember() -> None:
        collection.apply(lambda index: index.upsert(written))
        collection.apply(lambda index: index.delete(removed))

    async with cell.writer:
        await collection.make_room(len(written))
        await cell.write("write", store, remember)


def ids(answer_results: object) -> list[str]:
    return [each.document.document_id for each in answer_results]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "condition", [None, Equals("odd", value=True), Range("n", at_least=990, less_than=2_004), Equals("n", value=-1)]
)
async def test_the_nearest_are_found_exactly_however_few_are_visible(
    store: FakeCellStore, condition: MetadataFilter | None
) -> None:
    rows = documents()
    async with mapped(store, rows) as (_, cell, collection):
        for _ in range(3):
            for clearance in Sensitivity:
                query = direction(vector())
                answer = await collection.reader().search(SearchOrder(query, K, condition), eyes(up_to(clearance)))
                assert answer.strategy == STRATEGY
                assert ids(answer.results) == nearest(rows, query, clearance, condition)
                assert all(each.document.embedding is None for each in answer.results)
                seen = sum(each.label.sensitivity <= clearance for each in rows.values() if each.label.sensitivity)
                assert answer.filtered_rows == len(rows) - seen
            replaced = [
                document(f"d{n}", vector(), label(sensitivity(n + 1)), {"n": n, "odd": n % 2 == 1})
                for n in RANDOM.choice(ROWS + 500, 500, replace=False).tolist()
            ]
            removed = [f"d{n}" for n in RANDOM.choice(ROWS, 300, replace=False).tolist()]
            await write(cell, collection, replaced, removed)
            rows = {**rows, **{each.document_id: each for each in replaced}}
            rows = {key: each for key, each in rows.items() if key not in set(removed)}


async def test_who_sees_nothing_is_told_so(store: FakeCellStore) -> None:
    rows = {key: each for key, each in documents().items() if each.label.sensitivity is not Sensitivity.PUBLIC}
    async with mapped(store, rows) as (_, _cell, collection):
        for condition in (None, Equals("odd", value=True)):
            order = SearchOrder(direction(vector()), K, condition)
            answer = await collection.reader().search(order, eyes(up_to(Sensitivity.PUBLIC)))
            assert (list(answer.results), answer.strategy) == ([], NOTHING_VISIBLE)


@pytest.mark.parametrize("clearance", list(Sensitivity))
async def test_what_changes_between_scan_and_reading_is_looked_for_again(
    store: FakeCellStore, recorder: Recorder, clearance: Sensitivity
) -> None:
    """The store has it before the index has: the scan finds rows that the store has no more, or others of their id."""
    rows = documents()
    query = direction(vector())
    async with mapped(store, rows) as (_, cell, collection):
        best = nearest(rows, query, clearance)
        turned = [document(key, -query, rows[key].label) for key in best[:3]]
        hidden = [document(key, query, label(Sensitivity.SECRET), text="secret") for key in best[3:5]]
        cell.cell.upsert("documents", [to_stored(each) for each in [*turned, *hidden]])
        cell.cell.delete("documents", best[5:8])
        recorder.operations.clear()
        answer = await collection.reader().search(SearchOrder(query, K), eyes(up_to(clearance)))
        changed = set(best[:8]) - ({each.document_id for each in hidden} if clearance is Sensitivity.SECRET else set())
        if answer.strategy == STRATEGY:
            unchanged = {key: each for key, each in rows.items() if key not in best[:8]}
            assert ids(answer.results) == nearest(unchanged, query, clearance)
        else:  # fewer than k rows are as they were: the store alone knows
            assert clearance is Sensitivity.PUBLIC
            assert answer.strategy in {OVERFETCH, FILTERED}
        assert recorder.operations.count("get") <= 4
        assert changed & set(ids(answer.results)) <= {each.document_id for each in turned}
        assert "secret" not in {each.document.text for each in answer.results} or clearance is Sensitivity.SECRET


async def test_a_row_that_is_replaced_meanwhile_is_found_as_it_is_now(store: FakeCellStore, recorder: Recorder) -> None:
    """Also where all that is visible was read already."""
    rows = documents()
    query = direction(vector())
    few = nearest(rows, query, Sensitivity.PUBLIC)
    assert len(few) < K
    async with mapped(store, rows) as (_, cell, collection):
        recorder.operations.clear()
        recorder.held = {"get"}
        reader, order, visibility = collection.reader(), SearchOrder(query, K), eyes(up_to(Sensitivity.PUBLIC))
        search = asyncio.create_task(reader.search(order, visibility))
        await until(lambda: "get" in recorder.operations)
        await write(cell, collection, [document(few[0], -query, text="new")], [few[1]])
        recorder.go.set()
        answer = await search
        assert answer.strategy == STRATEGY
        assert ids(answer.results) == [*few[2:], few[0]]
        assert answer.results[-1].document.text == "new"
        assert answer.results[-1].score == pytest.approx(-1)


async def test_rows_of_damaged_tags_are_given_to_nobody(store: FakeCellStore) -> None:
    rows = documents()
    query = direction(vector())
    async with mapped(store, rows) as (_, _cell, collection):
        best = nearest(rows, query, Sensitivity.SECRET)
        for key in best[:2]:
            stored = store.cells[TENANT].rows["documents"]
            stored[key].metadata.pop("vs_tenant")  # type: ignore[attr-defined]
        answer = await collection.reader().search(SearchOrder(query, K), eyes(permit()))
        assert not set(best[:2]) & set(ids(answer.results))
        assert len(answer.results) == K


async def test_when_most_of_its_rows_are_dead_it_is_loaded_anew(store: FakeCellStore) -> None:
    rows = documents()
    async with mapped(store, rows) as (_, cell, collection):
        index = collection.mapped_index
        for start in [0, 2_000, 4_000, 0, 2_000]:
            again = [document(f"d{n}", vector(), label(sensitivity(n))) for n in range(start, start + 2_000)]
            await write(cell, collection, again, [])
            rows |= {each.document_id: each for each in again}
        assert collection.mapped_index is None
        collection.start_loading()
        await collection.loaded()
        assert collection.mapped_index not in {None, index}
        query = direction(vector())
        answer = await collection.reader().search(SearchOrder(query, K), eyes(permit()))
        assert answer.strategy == STRATEGY
        assert ids(answer.results) == nearest(rows, query, Sensitivity.SECRET)


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)


async def test_where_the_disk_is_full_the_store_is_searched(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    rows = documents()
    async with mapped(store, rows) as (_, _cell, collection):
        assert collection.mapped_index is None
        assert not collection.is_loading
        query = direction(vector())
        answer = await collection.reader().search(SearchOrder(query, K), eyes(permit()))
        assert answer.strategy == OVERFETCH
        assert ids(answer.results) == nearest(rows, query, Sensitivity.SECRET)


@pytest.mark.parametrize("asks_before", [True, False])
async def test_a_disk_that_becomes_full_fails_no_write(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch, *, asks_before: bool
) -> None:
    rows = documents()
    async with mapped(store, rows) as (_, cell, collection):
        assert collection.mapped_index is not None
        fill_disk(monkeypatch)
        if not asks_before:  # as if the load had ended after room was asked for
            monkeypatch.setattr(OpenCollection, "make_room", _no_room_is_made)
        more = [document(f"more{n}", vector()) for n in range(1_000)]
        await write(cell, collection, more, ["d0"])
        assert collection.mapped_index is None
        rows |= {each.document_id: each for each in more}
        del rows["d0"]
        query = direction(vector())
        answer = await collection.reader().search(SearchOrder(query, K), eyes(permit()))
        assert ids(answer.results) == nearest(rows, query, Sensitivity.SECRET)


async def _no_room_is_made(_collection: OpenCollection, _count: int) -> None:
    """The index has to make it itself."""


async def test_vectors_lie_in_the_folder_that_was_named_without_a_name_and_go_with_their_cell(
    store: FakeCellStore, tmp_path: Path
) -> None:
    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = descriptors()
    async with mapped(store, documents(), tmp_path) as (here, cell, collection):
        assert collection.mapped_index is not None
        await write(cell, collection, list(documents(3_000).values()), [])
        await collection.reader().search(SearchOrder(direction(vector()), K), eyes(permit()))
        assert {os.fstat(int(each.name)).st_nlink for each in _files_below(tmp_path)} == {0}
        assert list(tmp_path.iterdir()) == []
        cell.retire()  # so that it is closed as soon as it is given back
        del here, cell, collection
    assert descriptors() == before


async def test_without_the_folder_there_is_no_file_and_the_store_is_searched(
    store: FakeCellStore, tmp_path: Path
) -> None:
    rows = documents()
    async with mapped(store, rows, tmp_path / "none") as (_, _cell, collection):
        assert collection.mapped_index is None
        query = direction(vector())
        answer = await collection.reader().search(SearchOrder(query, K), eyes(permit()))
        assert ids(answer.results) == nearest(rows, query, Sensitivity.SECRET)


def _files_below(folder: Path) -> list[Path]:
    links = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return [each for each in links if str(each.readlink()).startswith(f"{folder}/")]
