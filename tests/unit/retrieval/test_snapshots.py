"""Snapshots: what was written is what is read, whatever is not is found out, and what is visible is found exactly."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from contract.fake_store import FakeCellStore
from unit.retrieval.worlds import (
    DIMENSIONS,
    TENANT,
    World,
    add,
    collection_of,
    delete,
    document,
    eyes,
    label,
    permit,
    saved,
    up_to,
    upsert,
    world,
)

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.exact_scan import top_k
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.memory.snapshot_format import SnapshotSource
from vecsec_retrieval.memory.snapshot_making import write_moment
from vecsec_retrieval.memory.snapshot_rows import OutdatedSnapshot, SnapshotRows, TornSnapshot
from vecsec_retrieval.model.embeddings import direction, normalised
from vecsec_retrieval.model.filters import Equals, MetadataFilter, Range, of_document
from vecsec_retrieval.model.rows import Document, Vector
from vecsec_retrieval.search.memory_reader import STRATEGY, MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.store_threads import StoreThreads

SOURCE = SnapshotSource(TENANT, "documents", DIMENSIONS)
MAPPED, READ = 0, 2**30
ROWS, K = 3_000, 10
ODD_TEXTS = ["", "\u0434\U0001f600", "\x00line\nbreak\r", '"quoted" \\', "x" * 100_000]
ODD_VALUES = [-0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2**63 - 1, -(2**63), True, False, "", "\u0434"]
RANDOM = np.random.default_rng(5)


def vector() -> Vector:
    return RANDOM.standard_normal(DIMENSIONS).astype(np.float32)


def told(row: Document) -> tuple[object, ...]:
    """All of a row, with types and signs."""
    return row.document_id, row.text, row.label, [(key, repr(value)) for key, value in sorted(row.metadata.items())]


@pytest.mark.parametrize("mapped_from_bytes", [MAPPED, READ])
def test_rows_are_read_as_they_were_written(tmp_path: Path, mapped_from_bytes: int) -> None:
    index = CollectionIndex(DIMENSIONS)
    rows = [
        document(f"{number}\u0434", vector(), label(owner=f"o{number % 3}"), {f"k{number}": value}, text)
        for number, (text, value) in enumerate(zip(ODD_TEXTS * 2, ODD_VALUES, strict=True))
    ]
    upsert(index, [*rows, document("gone")])
    delete(index, ["gone"])
    before = index.moment()
    once = saved(index, tmp_path / "once.rows", mapped_from_bytes)
    upsert(once, [document("later", vector())])
    again = saved(once, tmp_path / "again.rows", mapped_from_bytes)
    for number, expected in enumerate(rows):
        row = again.row(expected.document_id)
        assert row is not None
        assert told(again.moment().document(row)) == told(before.document(number))
        numbers = np.array([row])
        found, was = again.moment().parts[0], before.parts[0]
        assert found.exact[row].tobytes() == was.exact[number].tobytes()
        assert found.quantised[numbers].numbers.tobytes() == was.quantised[np.array([number])].numbers.tobytes()
    assert len(again) == len(rows) + 1
    assert again.row("gone") is None
    moment = again.moment()
    assert moment.base is not None
    in_order = [moment.document_id(row) for row in moment.base.rows_by_id.tolist()]
    assert in_order == sorted((moment.document_id(row) for row in range(len(again))), key=str.encode)
    for code in range(len(moment.labels)):
        of_label = np.flatnonzero(moment.label_codes == code).tolist()
        assert of_label == list(range(of_label[0], of_label[0] + len(of_label))), "rows of a label lie together"


def damaged_copies(content: bytes) -> list[bytes]:
    """The file, damaged in very many places and ways."""
    chance = random.Random(1)
    flipped = [chance.randrange(len(content)) for _ in range(300)]
    return [
        *(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :] for at in flipped),
        *(content[:at] for at in flipped[:50]),
        *(content[:at] + bytes(20) + content[at + 20 :] for at in flipped[:50]),
        b"",
        content + b"x",
        content[1:],
    ]


@pytest.mark.parametrize("mapped_from_bytes", [MAPPED, READ])
def test_whatever_is_damaged_is_found_out_or_does_not_matter(tmp_path: Path, mapped_from_bytes: int) -> None:
    index = CollectionIndex(DIMENSIONS)
    rows = [document(f"d{number}", vector(), label(owner=str(number % 7)), {"n": number}) for number in range(200)]
    upsert(index, rows)
    path = tmp_path / "whole.rows"
    checksum = write_moment(path, SOURCE, index.moment(), frozenset())
    content, query, mask = path.read_bytes(), direction(vector()), np.ones(200, dtype=np.bool_)
    moment = index.moment()
    best = [
        (told(moment.document(row)), score)
        for row, score in top_k(moment.parts, mask, query, K, lambda rows: map(moment.document_id, rows))
    ]
    found_out = 0
    for number, copy in enumerate(damaged_copies(content)):
        damaged = tmp_path / f"{number}.rows"
        damaged.write_bytes(copy)
        try:
            found = CollectionIndex(DIMENSIONS, SnapshotRows(damaged, SOURCE, checksum, mapped_from_bytes)).moment()
            results = top_k(found.parts, mask, query, K, lambda rows, moment=found: map(moment.document_id, rows))  # type: ignore[misc]
            assert [(told(found.document(row)), score) for row, score in results] == best
            assert [told(found.document(row)) for row in range(200)] == [
                told(moment.document(index.row(found.document_id(row)) or 0)) for row in range(200)
            ]
        except TornSnapshot:
            found_out += 1
        damaged.unlink()
    assert found_out > 300


@pytest.mark.parametrize(
    "source",
    [
        SnapshotSource("tenant_b", "documents", DIMENSIONS),
        SnapshotSource(TENANT, "others", DIMENSIONS),
        SnapshotSource(TENANT, "documents", DIMENSIONS + 1),
    ],
)
def test_threat_27_a_snapshot_of_something_else_is_refused(tmp_path: Path, source: SnapshotSource) -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("one")])
    checksum = write_moment(tmp_path / "file", SOURCE, index.moment(), frozenset())
    with pytest.raises(TornSnapshot):
        SnapshotRows(tmp_path / "file", source, checksum, MAPPED)
    with pytest.raises(TornSnapshot):
        SnapshotRows(tmp_path / "file", SOURCE, checksum + 1, MAPPED)


def test_threat_27_labels_of_another_tenant_are_refused(tmp_path: Path) -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("one", of=label(tenant_id="tenant_b"))])
    checksum = write_moment(tmp_path / "file", SOURCE, index.moment(), frozenset())
    with pytest.raises(TornSnapshot) as refused:
        SnapshotRows(tmp_path / "file", SOURCE, checksum, MAPPED)
    assert "another tenant" in str(refused.value.detail)
    assert "tenant_b" not in refused.value.message


def rows_of_many_labels() -> dict[str, Document]:
    shares = {Sensitivity.PUBLIC: 0.001, Sensitivity.INTERNAL: 0.01, Sensitivity.CONFIDENTIAL: 0.1}
    made = []
    for number in range(ROWS):
        part = number % 1_000 / 1_000
        of = next((each for each, below in shares.items() if part < below), Sensitivity.SECRET)
        made.append(document(f"d{number}", vector(), label(of), {"n": number, "odd": number % 2 == 1}))
    return {each.document_id: each for each in made}


def nearest(
    rows: dict[str, Document], query: Vector, clearance: Sensitivity, condition: MetadataFilter | None = None
) -> list[str]:
    scored = [
        (-float(direction(each.embedding).astype(np.float64) @ query), each.document_id)
        for each in rows.values()
        if each.embedding is not None
        and each.label.sensitivity is not None
        and each.label.sensitivity <= clearance
        and of_document(condition)(each)
    ]
    return [document_id for _, document_id in sorted(scored)[:K]]


@pytest.mark.parametrize(
    "condition", [None, Equals("odd", value=True), Range("n", at_least=990, less_than=2_004), Equals("n", value=-1)]
)
@pytest.mark.parametrize("limit_bytes", [2**30, 4_000_000])
async def test_the_nearest_are_found_exactly_however_few_are_visible_hot_and_cold(
    store: FakeCellStore, condition: MetadataFilter | None, limit_bytes: int
) -> None:
    rows = rows_of_many_labels()
    for turn in range(3):
        async with world(store, limit_bytes=limit_bytes) as here:
            if not turn:
                await add(here, TENANT, list(rows.values()))
            again = [
                document(f"d{n}", vector(), label(), {"n": n, "odd": n % 2 == 1})
                for n in RANDOM.choice(ROWS + 50, 50, replace=False).tolist()
            ]
            rows |= {each.document_id: each for each in again}
            await add(here, TENANT, again)
            async with here.cells.lease(TENANT) as cell:
                collection = await collection_of(cell)
                collection.start_loading()
                await collection.loaded()
                for clearance in Sensitivity:
                    query = direction(vector())
                    order = SearchOrder(query, K, condition)
                    answer = await collection.reader().search(order, eyes(up_to(clearance)))
                    assert answer.strategy == STRATEGY
                    found = [each.document.document_id for each in answer.results]
                    assert found == nearest(rows, query, clearance, condition)


async def loaded_reader(here: World) -> MemoryReader:
    async with here.cells.lease(TENANT) as cell:
        collection = await collection_of(cell)
        collection.start_loading()
        await collection.loaded()
        reader = collection.reader()
        assert isinstance(reader, MemoryReader)
        return reader


@pytest.mark.parametrize("is_resident", [True, False])
async def test_threat_23_whether_a_search_goes_to_a_thread_is_for_the_visible_rows_to_say(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch, *, is_resident: bool
) -> None:
    """However many hidden rows make the file one that is mapped; only where the disk must be read it is a thread's."""
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._MAPPED_FROM_BYTES", 0)
    asked: list[object] = []
    if not is_resident:
        for name in ("rows_are_resident", "ranges_are_resident"):
            monkeypatch.setattr(f"vecsec_retrieval.memory.snapshot_rows.{name}", lambda *_range: False)
    run = StoreThreads.run

    async def recorded(self: StoreThreads, operation: str, call: Callable[[], object]) -> object:
        asked.append(operation)
        return await run(self, operation, call)

    async with world(store) as here:
        await add(here, TENANT, list(rows_of_many_labels().values()))
    async with world(store) as here:
        reader = await loaded_reader(here)
        monkeypatch.setattr(StoreThreads, "run", recorded)
        answer = await reader.search(SearchOrder(direction(vector()), K), eyes(up_to(Sensitivity.INTERNAL)))
        assert len(answer.results) == K
        assert asked == ([] if is_resident else ["scan", "read_rows"])


async def test_ids_are_listed_in_their_order_however_the_rows_lie(store: FakeCellStore) -> None:
    rows = rows_of_many_labels()
    async with world(store) as here:
        await add(here, TENANT, list(rows.values()))
    async with world(store) as here:
        reader = await loaded_reader(here)
        sight = eyes(up_to(Sensitivity.CONFIDENTIAL))
        listed: list[str] = []
        while page := await reader.ids(sight, after_id=listed[-1] if listed else "", limit=37):
            listed += page
        visible = [
            each.document_id for each in rows.values() if (each.label.sensitivity or 0) <= Sensitivity.CONFIDENTIAL
        ]
        assert listed == sorted(visible)


@pytest.mark.parametrize("section", ["ids", "texts", "exact"])
async def test_a_torn_snapshot_is_made_again_from_the_log(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._MAPPED_FROM_BYTES", 0)
    rows = [document(f"id-{number}", vector(), text=f"text {number}") for number in range(200)]
    async with world(store) as here:
        await add(here, TENANT, rows)
    log = store.cells[TENANT].log
    assert log is not None
    (file,) = log.snapshot_folder.glob("*.rows")
    assert rows[7].embedding is not None
    exact = normalised(rows[7].embedding.reshape(1, -1)).tobytes()
    harmed = {"ids": b"id-77", "texts": b"text 7", "exact": exact}[section]
    content = file.read_bytes()
    assert harmed in content
    file.write_bytes(content.replace(harmed, bytes([harmed[0] ^ 1]) + harmed[1:]))
    query = direction(rows[7].embedding)  # type: ignore[arg-type]
    async with world(store) as here:
        reader = await loaded_reader(here)
        try:
            answer = await reader.search(SearchOrder(query, 3), eyes(permit()))
        except TornSnapshot as error:
            assert error.retry_after is not None
            assert str(file) not in error.message
        else:
            assert section == "ids", "it was found out when it was opened"
            assert answer.results[0].document.text == "text 7"
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            answer = await collection.reader().search(SearchOrder(query, 1), eyes(permit()))
            assert answer.results[0].document.text == "text 7"
            await collection.loaded()
        answer = await (await loaded_reader(here)).search(SearchOrder(query, 1), eyes(permit()))
        assert answer.results[0].document.text == "text 7"


def cut(file: Path) -> None:
    os.truncate(file, 100)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(b"id-77")] ^= 1
    with file.open("r+b") as opened:  # in place: what is mapped is this file
        opened.write(content)


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("harm", [cut, flip])
async def test_threat_27_a_file_that_is_changed_while_it_is_in_use_is_read_no_further(
    store: FakeCellStore, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], *, is_written: bool
) -> None:
    monkeypatch.setattr("vecsec_retrieval.cells.open_collection._MAPPED_FROM_BYTES", 0)
    rows = [document(f"id-{number}", vector(), text=f"text {number}") for number in range(200)]
    async with world(store) as here:
        await add(here, TENANT, rows)
    log = store.cells[TENANT].log
    assert log is not None
    (file,) = log.snapshot_folder.glob("*.rows")
    order = SearchOrder(direction(rows[77].embedding), 1)  # type: ignore[arg-type]
    async with world(store) as here:
        reader = await loaded_reader(here)
        harm(file)
        async with here.cells.lease(TENANT) as cell:
            collection = await collection_of(cell)
            with pytest.raises(TornSnapshot, match="try again"):
                await (collection.existing(["id-77"]) if is_written else reader.search(order, eyes(permit())))
            assert set(await collection.existing(["id-77"])) == {"id-77"}
            await collection.loaded()
            answer = await collection.reader().search(order, eyes(permit()))
        assert (answer.strategy, answer.results[0].document.text) == (STRATEGY, "text 77")


async def test_a_snapshot_of_another_version_of_words_is_made_again_and_was_not_torn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("one")])
    checksum = write_moment(tmp_path / "old.rows", SOURCE, index.moment(), frozenset())
    monkeypatch.setattr("vecsec_retrieval.memory.snapshot_rows.WORDS_VERSION", "another")
    with pytest.raises(OutdatedSnapshot):
        SnapshotRows(tmp_path / "old.rows", SOURCE, checksum, READ)
