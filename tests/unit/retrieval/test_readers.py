"""Both readers of a collection against brute force: whatever is stored, asked for and visible."""

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from contract.fake_store import FakeCell, FakeCellStore
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.retrieval.plain_filters import FILTERS, METADATA, truth
from unit.retrieval.worlds import DIMENSIONS, TENANT, World, document, eyes, label, permit, up_to, world

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.cells.open_collection import OpenCollection
from vecsec_retrieval.cells.resting_cell import RestingCell
from vecsec_retrieval.memory.index import IndexChange
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import Equals, MetadataFilter, kind_of
from vecsec_retrieval.model.rows import CollectionInfo, Document, Neighbour, StoredRow, Vector
from vecsec_retrieval.model.store import RowCondition
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.reader import LabelCount, SearchAnswer, SearchOrder
from vecsec_retrieval.search.store_search import EXHAUSTIVE, FILTERED, OVERFETCH, WIDENED
from vecsec_retrieval.visibility.tagging import label_key, to_stored

EVEN = direction(np.ones(DIMENSIONS, dtype=np.float32))
INFO = CollectionInfo("documents", "external", DIMENSIONS)
DOCUMENTS = st.lists(
    st.builds(
        lambda number, sensitivity, metadata, seed: document(
            f"d{number}",
            np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32),
            label(sensitivity),
            metadata,
        ),
        st.integers(0, 60),
        st.sampled_from(Sensitivity),
        METADATA,
        st.integers(0, 10_000),
    ),
    max_size=40,
    unique_by=lambda each: each.document_id,
)


async def fill(cell: OpenCell, documents: list[Document]) -> OpenCollection:
    collection = await cell.create_collection(INFO)
    collection.begin_empty()
    if documents:
        entries = collection.catalogue.missing_entries(documents)
        collection.catalogue.store(entries)
        collection.catalogue.add(entries)
        cell.cell.upsert("documents", [to_stored(each) for each in documents])
        collection.apply(IndexChange(1, upserted=documents))
    return collection


def expected_ids(documents: list[Document], order: SearchOrder, clearance: Sensitivity) -> list[str]:
    query = order.query / np.linalg.norm(order.query)
    scored = [
        (-round(float(each.embedding @ query / np.linalg.norm(each.embedding)), 5), each.document_id)
        for each in documents
        if each.embedding is not None
        and each.label.sensitivity is not None
        and each.label.sensitivity <= clearance
        and (order.metadata is None or truth(order.metadata, each.metadata, each.text) is True)
    ]
    return [document_id for _, document_id in sorted(scored)[: order.k]]


@pytest.mark.parametrize("has_other_writers", [False, True], ids=["hot", "cold"])
@settings(max_examples=60)
@given(DOCUMENTS, st.none() | FILTERS, st.sampled_from(Sensitivity), st.integers(1, 12), st.integers(0, 10_000))
async def test_a_reader_finds_the_best_visible_documents_and_no_others(
    has_other_writers: bool,
    documents: list[Document],
    condition: MetadataFilter | None,
    clearance: Sensitivity,
    k: int,
    seed: int,
) -> None:
    vector = direction(np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32))
    order = SearchOrder(vector, k, condition)
    visible = [each for each in documents if each.label.sensitivity and each.label.sensitivity <= clearance]
    async with (
        world(FakeCellStore(has_other_writers=has_other_writers)) as here,
        here.cells.lease(TENANT, create=True) as cell,
    ):
        assert cell is not None
        reader = (await fill(cell, documents)).reader()
        visibility = eyes(up_to(clearance))
        answer = await reader.search(order, visibility)
        assert [each.document.document_id for each in answer.results] == expected_ids(documents, order, clearance)
        assert all(each.document.embedding is None for each in answer.results)
        others = [SearchOrder(-vector, 3, condition), SearchOrder(vector, k), *map(twin, (1, True)), order]
        found = await reader.search_many(others, visibility)
        assert list(map(rows, found)) == [rows(await reader.search(each, visibility)) for each in others]
        assert rows(found[-1]) == rows(answer)
        kinds = await reader.value_kinds(visibility, frozenset({"x", "none"}))
        of_x = {kind_of(each.metadata["x"]) for each in visible if "x" in each.metadata}
        assert kinds == ({} if has_other_writers else {"x": of_x, "none": set()})
        assert await reader.has_visible(visibility) == bool(visible)
        assert await reader.count(visibility) == len(visible)
        assert await reader.metadata_keys(visibility) == {key for each in visible for key in each.metadata}
        bearing = Counter(label_key(each.label) for each in visible)
        counted = await reader.label_counts(visibility, after_key="", limit=1_000)
        assert [label_key(each.label) for each in counted] == sorted(bearing)
        assert {label_key(each.label): each.document_count for each in counted} == bearing
        paged: list[LabelCount] = []
        while page := await reader.label_counts(
            visibility, after_key=label_key(paged[-1].label) if paged else "", limit=2
        ):
            paged.extend(page)
        assert paged == counted
        everything = [f"d{number}" for number in range(61)]
        found = await reader.get(everything, visibility)
        assert {each.document_id for each in found} == {each.document_id for each in visible}


def rows(answer: SearchAnswer) -> list[tuple[str, float]]:
    return [(each.document.document_id, each.score) for each in answer.results]


def twin(value: int) -> SearchOrder[Vector]:
    """Two of them are equal for Python where the value is 1 and True, and look for different rows."""
    return SearchOrder(EVEN, 5, Equals("x", value))


class ForgetfulCell(FakeCell):
    """Its approximate index finds next to nothing, as a real one may under a narrow filter."""

    def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
        return super().nearest(collection_id, vector, count, condition)[:2]


def random_documents(count: int, sensitivity: Callable[[int], Sensitivity]) -> list[Document]:
    random = np.random.default_rng(7)
    return [
        document(f"d{number}", random.standard_normal(DIMENSIONS).astype(np.float32), label(sensitivity(number)))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("sensitivity", "strategy"),
    [
        (lambda _number: Sensitivity.PUBLIC, OVERFETCH),
        (lambda number: Sensitivity.PUBLIC if number % 10 == 0 else Sensitivity.SECRET, WIDENED),
        (lambda number: Sensitivity.PUBLIC if number % 40 == 0 else Sensitivity.SECRET, FILTERED),
    ],
)
async def test_the_store_is_asked_no_more_than_it_takes(
    sensitivity: Callable[[int], Sensitivity], strategy: str
) -> None:
    async with world(FakeCellStore(has_other_writers=True)) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, random_documents(400, sensitivity))
        order = SearchOrder(EVEN, 10)
        answer = await collection.reader().search(order, eyes(up_to(Sensitivity.PUBLIC)))
        assert len(answer.results) == 10
        assert answer.strategy == strategy


def replace_store_side(here: World, cell: OpenCell, kind: type[FakeCell]) -> None:
    assert isinstance(here.store, FakeCellStore)
    fake = here.store.cells[TENANT]
    other = kind(**{each.name: getattr(fake, each.name) for each in dataclasses.fields(fake)})
    cell.cell = RestingCell(other, lambda: other)


async def test_a_search_never_starves_on_a_forgetful_index() -> None:
    documents = random_documents(1_200, lambda number: Sensitivity.PUBLIC if number % 2 else Sensitivity.SECRET)
    async with world(FakeCellStore(has_other_writers=True)) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        replace_store_side(here, cell, ForgetfulCell)
        collection = await fill(cell, documents)
        order = SearchOrder(EVEN, 50)
        answer = await collection.reader().search(order, eyes(up_to(Sensitivity.PUBLIC)))
        assert answer.strategy == EXHAUSTIVE
        found = [each.document.document_id for each in answer.results]
        assert found == expected_ids(documents, order, Sensitivity.PUBLIC)
        assert all(each.document.embedding is None for each in answer.results)


@pytest.mark.parametrize("has_other_writers", [False, True], ids=["hot", "cold"])
async def test_untagged_rows_are_readable_by_nobody(has_other_writers: bool) -> None:
    vector = EVEN
    half_tagged = to_stored(document("half", vector)).metadata
    stray = [
        StoredRow("bare", "text", {}, vector),
        StoredRow("half", "text", {key: value for key, value in half_tagged.items() if key != "vs_tenant"}, vector),
        StoredRow("foreign", "text", to_stored(document("x", vector, label(tenant_id="tenant_b"))).metadata, vector),
    ]
    store = FakeCellStore(has_other_writers=has_other_writers)
    async with world(store) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        collection = await fill(cell, [document("good", vector)])
        cell.cell.upsert("documents", stray)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        assert cell is not None
        opened = await cell.collection("documents")
        assert opened is not None
        for _ in range(2):  # from the store, then from memory where that is allowed
            reader, visibility = opened.reader(), eyes(permit())
            answer = await reader.search(SearchOrder(vector, 10), visibility)
            assert [each.document.document_id for each in answer.results] == ["good"]
            assert [each.document_id for each in await reader.get(["bare", "half", "foreign", "good"], visibility)] == [
                "good"
            ]
            existing = await opened.existing(["bare", "half", "foreign", "good", "none"])
            assert {name for name, row in existing.items() if row.label is None} == {"bare", "half", "foreign"}
            assert existing["good"].label == label()
            await opened.loaded()
    assert collection.info == INFO


async def test_labels_of_other_writers_turn_up_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeCellStore(has_other_writers=True)
    async with world(store) as ours, world(store) as theirs, ours.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        mine = await fill(cell, [document("public", of=label(Sensitivity.PUBLIC))])
        assert await mine.reader().count(eyes(permit())) == 1
        async with theirs.cells.lease(TENANT) as other:
            assert other is not None
            await fill(other, [document("secret", of=label(Sensitivity.SECRET), metadata={"x": 1})])
        # A row that is met says itself what its label is.
        answer = await mine.reader().search(SearchOrder(EVEN, 2), eyes(permit()))
        assert {each.document.document_id for each in answer.results} == {"public", "secret"}
        monkeypatch.setattr("vecsec_retrieval.search.label_catalogue._FRESH_SECONDS", -1.0)
        assert await mine.reader().count(eyes(permit())) == 2
        assert await mine.reader().metadata_keys(eyes(permit())) == {"x"}


async def test_the_catalogue_adds_only_what_is_missing() -> None:
    async with world() as here:
        cell = here.store.open(TENANT, create=True)
        assert cell is not None
        catalogue = LabelCatalogue(cell, "documents", here.threads, has_other_writers=False)
        documents = [document("one", metadata={"x": 1, "y": 1}), document("two", metadata={"x": 2})]
        entries = catalogue.missing_entries(documents)
        assert {each.metadata_keys for each in entries} == {frozenset("x"), frozenset("xy")}
        catalogue.store(entries)
        catalogue.add(entries)
        assert catalogue.missing_entries(documents) == []
        [more] = catalogue.missing_entries([document("three", metadata={"z": 1})])
        assert more.metadata_keys == {"z"}
        fresh = LabelCatalogue(cell, "documents", here.threads, has_other_writers=False)
        assert (await fresh.labels()).labels == [label()]
        assert fresh.metadata_keys(np.array([True])) == {"x", "y"}
        assert fresh.metadata_keys(np.array([False])) == frozenset()


async def test_many_labels_are_few_entries_and_are_read_back_whole() -> None:
    documents = [document(str(number), of=label(owner=f"user{number}@example.com")) for number in range(1_000)]
    async with world() as here:
        cell = here.store.open(TENANT, create=True)
        assert isinstance(cell, FakeCell)
        catalogue = LabelCatalogue(cell, "documents", here.threads, has_other_writers=False)
        entries = catalogue.missing_entries(documents)
        catalogue.store(entries)
        assert len(cell.rows["documents.labels"]) == len(entries) < 50
        catalogue.store(catalogue.missing_entries(documents))
        assert len(cell.rows["documents.labels"]) == len(entries), "adding an entry again changes nothing"
        fresh = LabelCatalogue(cell, "documents", here.threads, has_other_writers=False)
        before = fresh.approximate_bytes
        assert set((await fresh.labels()).labels) == {each.label for each in documents}
        assert fresh.approximate_bytes > before + 1_000 * 100, "labels count in the cell's memory"


async def test_entries_of_another_tenant_or_none_that_can_be_read_are_no_labels() -> None:
    async with world() as here:
        cell, other = here.store.open(TENANT, create=True), here.store.open("tenant_b", create=True)
        assert isinstance(cell, FakeCell)
        assert isinstance(other, FakeCell)
        foreign = LabelCatalogue(other, "documents", here.threads, has_other_writers=False)
        foreign.store(foreign.missing_entries([document("x", of=label(tenant_id="tenant_b"))]))
        cell.create_collection(CollectionInfo("documents.labels", "none", 1))
        cell.rows["documents.labels"] = dict(other.rows["documents.labels"])
        cell.upsert("documents.labels", [StoredRow("odd", "", {"vs_labels": "{"}, np.ones(1, dtype=np.float32))])
        catalogue = LabelCatalogue(cell, "documents", here.threads, has_other_writers=False)
        assert (await catalogue.labels()).labels == []


async def test_where_most_of_very_many_labels_are_visible_rows_are_found_by_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vecsec_retrieval.visibility.visible_rows._MOST_LABEL_KEYS", 20)
    asked: list[RowCondition] = []

    class WatchedCell(FakeCell):
        def nearest(self, collection_id: str, vector: Vector, count: int, condition: RowCondition) -> list[Neighbour]:
            asked.append(condition)
            return super().nearest(collection_id, vector, count, condition)

    def sensitivity(number: int) -> Sensitivity:
        return Sensitivity.SECRET if number % 3 == 0 else Sensitivity.PUBLIC

    documents = [
        document(f"d{number}", of=label(sensitivity(number), owner=f"u{number}"), metadata={"rare": number % 100 == 99})
        for number in range(1_500)
    ]
    async with world(FakeCellStore(has_other_writers=True)) as here, here.cells.lease(TENANT, create=True) as cell:
        assert cell is not None
        replace_store_side(here, cell, WatchedCell)
        collection = await fill(cell, documents)
        order = SearchOrder(EVEN, 10, Equals("rare", value=True))
        answer = await collection.reader().search(order, eyes(up_to(Sensitivity.PUBLIC)))
        assert [each.document.document_id for each in answer.results] == expected_ids(
            documents, order, Sensitivity.PUBLIC
        )
        assert asked[-1] == RowCondition(None, order.metadata)
