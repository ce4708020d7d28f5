"""Deletions that take long: of a whole collection, and of very many rows."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
from contract.fake_store import FakeCellStore
from support.waiting import until, until_all_wait
from unit.retrieval.worlds import (
    DIMENSIONS,
    INFO,
    TENANT,
    Recorder,
    add,
    collection_of,
    document,
    eyes,
    label,
    permit,
    seed,
    upsert,
    world,
)

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidRequest, RetrievalUnavailable
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.cells.open_cell import CellState
from vecsec_retrieval.cells.open_collection import InMemory, Loading
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange, in_slices
from vecsec_retrieval.model.embeddings import EmbeddingModels
from vecsec_retrieval.model.filters import Equals
from vecsec_retrieval.model.label_change import LabelChange
from vecsec_retrieval.model.store import WritesRefused
from vecsec_retrieval.stores.folder.disk import StoreDisk
from vecsec_retrieval.use_cases.collection_search import CollectionSearch
from vecsec_retrieval.use_cases.deleting import DocumentDeletion
from vecsec_retrieval.use_cases.documents import DocumentAccess
from vecsec_retrieval.use_cases.listing import CollectionListing, IdsWanted
from vecsec_retrieval.use_cases.relabelling import Relabelling, RelabelOrder
from vecsec_retrieval.use_cases.storage_quota import StorageQuota
from vecsec_retrieval.visibility.permissions import Permissions, Visibility
from vecsec_retrieval.visibility.tagging import to_stored

NO_SEARCHES = CollectionSearch(EmbeddingModels({}, ""), max_answer_bytes=1000)


async def test_nobody_writes_while_a_drop_goes_on_that_nobody_waits_for(
    store: FakeCellStore, recorder: Recorder
) -> None:
    """What was imported next would be gone with the collection."""
    seed(store, TENANT, rows=0)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        before = await collection_of(cell)
        assert cell is not None
        recorder.held = {"drop_collections"}

        async def drop() -> None:
            async with cell.writer:
                await cell.drop_if_empty("documents")

        dropping = asyncio.create_task(drop())
        await until(lambda: "drop_collections" in recorder.operations)
        dropping.cancel()
        adding = asyncio.create_task(add(here, TENANT, [document("fresh")]))
        await until_all_wait()
        assert "upsert" not in recorder.operations
        recorder.go.set()
        await adding
        with pytest.raises(asyncio.CancelledError):
            await dropping
        after = await collection_of(cell)
        assert after is not before
        assert list(await after.existing(["fresh"])) == ["fresh"]


@pytest.mark.parametrize(
    ("failure", "is_begun"), [(RetrievalUnavailable("gone"), True), (WritesRefused("no room"), False)]
)
async def test_a_drop_that_fails_leaves_a_collection_that_goes_on(
    store: FakeCellStore, recorder: Recorder, failure: Exception, *, is_begun: bool
) -> None:
    """Where nothing was begun; else the cell is opened afresh."""
    seed(store, TENANT, rows=0)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        assert cell is not None
        recorder.failures = {"drop_collections": failure}
        async with cell.writer:
            with pytest.raises(type(failure)):
                await cell.drop_if_empty("documents")
        assert (cell.state is CellState.RETIRED) == is_begun
        assert await collection_of(cell) is collection
        collection.start_loading()
        await collection.loaded()
        assert collection.index is not None


def test_what_is_done_in_slices_is_what_is_done_at_once() -> None:
    ids = [f"d{number}" for number in range(1_000)]
    secret = label(Sensitivity.SECRET)
    change = IndexChange(
        7, [document("d1", text="anew")], ids[:600], ["d700"], relabelled=[(each, secret) for each in ids[500:900]]
    )
    at_once, sliced = CollectionIndex(DIMENSIONS), CollectionIndex(DIMENSIONS)
    for index in (at_once, sliced):
        upsert(index, [document(each) for each in ids])
    at_once.apply(change)
    parts = list(in_slices(change))
    for part in parts:
        sliced.apply(part)
    assert max(len(part.deleted) + len(part.relabelled) for part in parts) <= 200
    assert [sliced.label_and_keys(each) for each in ids] == [at_once.label_and_keys(each) for each in ids]
    assert (len(sliced), sliced.position, sliced.untagged_ids) == (400, 7, {"d700"})


async def test_no_other_index_takes_the_place_of_one_in_which_very_many_rows_were_found(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a snapshot in a calm, nor a load that goes on: to look them up again would hold the loop."""
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._CALM_SECONDS", 0)
    seed(store, TENANT)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        async with collection.same_index():
            collection.start_loading()
            loading = collection._state
            assert isinstance(loading, Loading)
            await until(lambda: isinstance(collection._state, Loading) and collection._state.load is not None)
            collection.apply(IndexChange(9, deleted=["0"]))
            await asyncio.wait([loading.task], timeout=0.2)
            assert collection.is_loading
        await collection.loaded()
        index = collection.index
        assert index is not None
        assert len(index) == 2, "what was written meanwhile is done"
        async with collection.same_index():
            collection.apply(IndexChange(10, [document(f"new{number}") for number in range(150)]))
            await asyncio.sleep(0.05)
            assert isinstance(collection._state, InMemory)
        await until(lambda: collection.index is not index)


class Everybody:
    """Grants whatever is asked for."""

    async def require(self, _token: str, action: Action) -> Visibility:
        return eyes(permit(), action)

    async def require_reading(self, _token: str) -> Visibility:
        return eyes(permit())


@pytest.mark.parametrize("way", ["ids", "filter", "all", "relabel"])
async def test_what_was_made_anew_meanwhile_is_what_is_changed(store: FakeCellStore, way: str) -> None:
    """Else a row that is deleted for good could be read until the cell is opened again."""
    permissions = cast(Permissions, Everybody())
    is_new = Equals("is_new", value=True)
    seed(store, TENANT)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        before = await collection_of(cell)
        await before.reader_after_load()
        assert cell is not None
        deletion = DocumentDeletion(permissions, here.cells)
        access = DocumentAccess(permissions, here.cells, NO_SEARCHES, here.metrics, max_answer_bytes=1000)
        secret = label(Sensitivity.SECRET)
        order = RelabelOrder("documents", LabelChange(Sensitivity.SECRET), frozenset({secret}), document_ids=["new"])
        async with cell.writer:
            changing = asyncio.create_task(
                {
                    "ids": lambda: access.delete("", "documents", ["new"]),
                    "filter": lambda: deletion.by_filter("", "", "documents", is_new, dry_run=False),
                    "all": lambda: deletion.whole_collection("", "documents", dry_run=False),
                    "relabel": lambda: Relabelling(permissions, here.cells).relabel("", "", order),
                }[way]()
            )
            await until(lambda: cell.writer._waiters)  # type: ignore[attr-defined]
            cell.cell.delete("documents", ["0", "1", "2"])
            await cell.drop_if_empty("documents")
            after = await cell.create_collection(INFO)
            after.begin_empty()
            new = [document("new", metadata={"is_new": True})]
            after.catalogue.add(after.catalogue.missing_entries(new))
            await cell.write(
                "upsert",
                lambda: cell.cell.upsert("documents", [to_stored(each) for each in new]),
                lambda position: after.apply(IndexChange(position, new)),
            )
        await changing
        index = after.index
        assert index is not None
        if way == "relabel":
            assert index.label_and_keys("new") == (secret, {"is_new"})
        else:
            assert index.row("new") is None
        assert (await cell.collection("documents") is None) == (way == "all")


async def test_a_collection_that_was_emptied_by_ids_goes_also_when_it_was_read_anew(store: FakeCellStore) -> None:
    """Nobody sees a label in it any more."""
    permissions = cast(Permissions, Everybody())
    seed(store, TENANT, rows=0)
    async with world(store) as here, here.cells.lease(TENANT) as cell:
        await (await collection_of(cell)).reader_after_load()
        assert cell is not None
        deletion = DocumentDeletion(permissions, here.cells)
        assert await deletion.whole_collection("", "documents", dry_run=True) == 0
        assert await cell.collection("documents") is not None
        assert await deletion.whole_collection("", "documents", dry_run=False) == 0
        assert await cell.collection("documents") is None


async def test_rows_can_be_deleted_page_by_page_while_they_are_listed_by_a_key(store: FakeCellStore) -> None:
    """Later pages find no row with the key any more; the first one says that it is not known."""
    permissions = cast(Permissions, Everybody())
    async with world(store) as here:
        await add(here, TENANT, [document("a", metadata={"part": 1}), document("b")])
        listing = CollectionListing(permissions, here.cells, cast(StorageQuota, None))
        access = DocumentAccess(permissions, here.cells, NO_SEARCHES, here.metrics, max_answer_bytes=1000)
        first = await listing.list_document_ids("", "documents", IdsWanted(1, "", Equals("part", 1)))
        assert await access.delete("", "documents", first.items) == 1
        second = await listing.list_document_ids(
            "", "documents", IdsWanted(1, first.next_page_token, Equals("part", 1))
        )
        assert (first.items, second.items, second.next_page_token) == (["a"], [], "")
        with pytest.raises(InvalidRequest, match="part"):
            await listing.list_document_ids("", "documents", IdsWanted(1, "", Equals("part", 1)))


def test_a_large_deletion_wants_room_for_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It notes each row; 100,000 of them take some 30 MB."""
    disk = StoreDisk(tmp_path)
    monkeypatch.setattr(StoreDisk, "_free_bytes", lambda _: 20 * 1024 * 1024)
    disk.require_room_to_delete(1_000)
    with pytest.raises(WritesRefused, match="no room left"):
        disk.require_room_to_delete(100_000)
