"""What every store of cells promises, tried over all of them."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.model.filters import (
    AllOf,
    AnyOf,
    Equals,
    Exists,
    In,
    MetadataFilter,
    Not,
    Range,
    TextContains,
    predicate,
)
from vecsec_retrieval.model.rows import CollectionInfo, Document, Metadata, Vector
from vecsec_retrieval.model.store import Cell, CellStore, ChangeLog, RowCondition, RowsWanted, SnapshotName
from vecsec_retrieval.search.label_catalogue import SUFFIX
from vecsec_retrieval.visibility.tagging import caller_metadata, from_stored, label_key, to_stored

DIMENSIONS = 8
INFO = CollectionInfo("documents", "external", DIMENSIONS)
EVERYTHING = RowCondition()


def label(tenant_id: str, sensitivity: Sensitivity = Sensitivity.PUBLIC, topic: str = "a") -> Label:
    return Label(tenant_id, sensitivity, frozenset({topic}))


def vector(*numbers: float) -> Vector:
    return np.array([*numbers, *([0.0] * (DIMENSIONS - len(numbers)))], dtype=np.float32)


@pytest.fixture
def tenant_id() -> str:
    return f"t{uuid.uuid4().hex[:12]}"  # the server is shared by all tests


@pytest.fixture
def cell(store: CellStore, tenant_id: str) -> Iterator[Cell]:
    opened = store.open(tenant_id, create=True)
    assert opened is not None
    with closing(opened):
        opened.create_collection(INFO)
        yield opened


def put(cell: Cell, document_id: str, embedding: Vector, metadata: Metadata | None = None, **of_label: object) -> None:
    document = Document(
        document_id,
        f"text of {document_id}",
        label(cell.tenant_id, **of_label),  # type: ignore[arg-type]
        metadata or {},
        embedding,
    )
    cell.upsert("documents", [to_stored(document)])


def test_a_tenant_without_a_cell_has_none_and_reading_makes_none(store: CellStore, tenant_id: str) -> None:
    assert store.open(tenant_id, create=False) is None
    assert store.open(tenant_id, create=False) is None


def test_a_cell_that_was_made_is_there_for_readers(store: CellStore, tenant_id: str) -> None:
    made = store.open(tenant_id, create=True)
    assert made is not None
    made.close()
    found = store.open(tenant_id, create=False)
    assert found is not None
    assert found.tenant_id == tenant_id
    assert found.collections() == []
    found.close()


@pytest.mark.parametrize("bad", ["", "A", "../x", "a/b", "a.", "nul", "a\0", "a" * 64])
def test_a_malformed_tenant_id_never_reaches_a_path_or_a_url(open_store: Callable[[], CellStore], bad: str) -> None:
    with closing(open_store()) as opened:
        if opened.kind != "fake":
            with pytest.raises(ValueError, match="not a tenant id"):
                opened.open(bad, create=True)


def test_rows_are_counted_without_what_is_kept_beside_them(cell: Cell) -> None:
    side = CollectionInfo("documents" + SUFFIX, "external", DIMENSIONS)
    cell.create_collection(side)
    for collection_id, names in {"documents": "abc", side.collection_id: "de"}.items():
        documents = [Document(name, "text", label(cell.tenant_id), {}, vector(1)) for name in names]
        cell.upsert(collection_id, [to_stored(each) for each in documents])
    assert cell.row_count() == 3


def test_a_collection_remembers_its_model_and_dimensions(cell: Cell) -> None:
    assert cell.find_collection("documents") == INFO
    assert cell.find_collection("others") is None
    other = CollectionInfo("documents", "another", 3)
    assert cell.create_collection(other) == INFO
    assert cell.collections() == [INFO]


def test_rows_come_back_as_they_went_in(cell: Cell) -> None:
    metadata: Metadata = {"text": "ü\U0001f600\n", "whole": 2**60 + 1, "number": 1.0, "yes": True, "no": False}
    put(cell, "one", vector(3, 4), metadata, sensitivity=Sensitivity.SECRET)
    [row] = cell.get("documents", ["one"], with_embeddings=True)
    document = from_stored(row, cell.tenant_id)
    assert document is not None
    assert document.text == "text of one"
    assert document.label == label(cell.tenant_id, Sensitivity.SECRET)
    assert dict(document.metadata) == metadata
    assert {key: type(value) for key, value in document.metadata.items()} == {
        key: type(value) for key, value in metadata.items()
    }
    assert document.embedding is not None
    np.testing.assert_allclose(document.embedding, vector(3, 4), rtol=1e-6)


def test_get_answers_in_the_order_of_the_ids_and_leaves_out_what_is_missing(cell: Cell) -> None:
    for name in ("a", "b", "c"):
        put(cell, name, vector(1))
    rows = cell.get("documents", ["c", "nothing", "a"], with_embeddings=False)
    assert [row.document_id for row in rows] == ["c", "a"]
    assert rows[0].embedding is None
    assert cell.get("documents", [], with_embeddings=True) == []


def test_upsert_replaces_and_none_removes_a_key(cell: Cell) -> None:
    put(cell, "one", vector(1), {"old": 1, "kept": 1})
    replacement = Document("one", "new", label(cell.tenant_id), {"kept": 2}, vector(0, 1))
    cell.upsert("documents", [to_stored(replacement, stale_metadata_keys={"old"})])
    [row] = cell.get("documents", ["one"], with_embeddings=True)
    document = from_stored(row, cell.tenant_id)
    assert document is not None
    assert (document.text, dict(document.metadata)) == ("new", {"kept": 2})
    assert cell.find_ids("documents", EVERYTHING) == ["one"]
    assert cell.find_ids("documents", RowCondition(metadata=Equals("old", 1))) == []


def test_delete_removes_and_ignores_what_is_missing(cell: Cell) -> None:
    put(cell, "one", vector(1))
    put(cell, "two", vector(1))
    cell.delete("documents", ["one", "nothing"])
    cell.delete("documents", [])
    assert cell.find_ids("documents", EVERYTHING) == ["two"]


def test_more_rows_are_deleted_than_chroma_takes_at_once(cell: Cell) -> None:
    cell.create_collection(INFO)
    rows = [Document(f"r{number}", "text", label(cell.tenant_id), {}, vector(1)) for number in range(1_100)]
    for start in (0, 1_000):
        cell.upsert("documents", [to_stored(each) for each in rows[start : start + 1_000]])
    cell.delete("documents", [each.document_id for each in rows[1:]])
    assert cell.find_ids("documents", EVERYTHING) == ["r0"]
    assert cell.row_count() == 1
    put(cell, "later", vector(1))
    assert set(cell.find_ids("documents", EVERYTHING)) == {"r0", "later"}


def test_labels_change_and_nothing_else_of_rows(cell: Cell) -> None:
    cell.create_collection(INFO)
    rng = np.random.default_rng(3)
    rows = [
        Document(
            f"r{n}", f"t\u00e4xt {n}", label(cell.tenant_id), {"n": n, "x": n / 3}, rng.random(DIMENSIONS, np.float32)
        )
        for n in range(1_100)
    ]
    for start in (0, 1_000):
        cell.upsert("documents", [to_stored(each) for each in rows[start : start + 1_000]])
    cell.delete("documents", ["r1"])
    ids = [each.document_id for each in rows]
    before = {each.document_id: each for each in cell.get("documents", ids, with_embeddings=True)}
    secret = label(cell.tenant_id, Sensitivity.SECRET)
    moment = cell.hold_moment()
    position = cell.relabel("documents", [(each, secret) for each in [*ids[1:], "absent"]])
    after = {each.document_id: each for each in cell.get("documents", ids, with_embeddings=True)}
    assert after.keys() == before.keys() == set(ids) - {"r1"}
    for document_id, row in after.items():
        document, was = from_stored(row, cell.tenant_id), from_stored(before[document_id], cell.tenant_id)
        assert document is not None
        assert was is not None
        assert document.label == (was.label if document_id == "r0" else secret)
        assert (document.text, dict(document.metadata)) == (was.text, dict(was.metadata))
        assert row.embedding is not None
        # A server gives vectors back nearly as they were stored.
        np.testing.assert_allclose(row.embedding, before[document_id].embedding, rtol=0 if cell.log else 1e-6)
    if cell.log is not None:
        assert position == cell.log.position()
        wanted = RowsWanted(frozenset({label_key(label(cell.tenant_id))}), "", 5)
        assert cell.rows_at(moment, "documents", wanted).rows, "exports that have begun see what was"
        reached: int | None = 0
        while reached is not None:  # every row agrees with its checksum
            reached = cell.log.look_through(after=reached, count=500)


def test_a_collection_that_is_dropped_begins_anew_and_others_stay(cell: Cell) -> None:
    if cell.log is None:
        pytest.skip("others may write to a server, where collections are not dropped")
    put(cell, "one", vector(1))
    other = cell.create_collection(CollectionInfo("other", "external", 2))
    cell.upsert("other", [to_stored(Document("kept", "text", label(cell.tenant_id), {}, vector(1, 2)))])
    put(cell, "two", vector(1))
    before = cell.log.position()
    cell.drop_collections(["documents", "documents.labels"])
    assert cell.collections() == [other]
    assert cell.log.position() >= before, "positions are not given out again"
    assert cell.find_ids("other", EVERYTHING) == ["kept"]
    longer = CollectionInfo("documents", "another", 3)
    assert cell.create_collection(longer) == longer
    assert cell.find_ids("documents", EVERYTHING) == []
    cell.upsert("documents", [to_stored(Document("new", "text", label(cell.tenant_id), {}, np.ones(3, np.float32)))])
    assert cell.find_ids("documents", EVERYTHING) == ["new"]
    cell.drop_collections(["documents", "other"])
    assert cell.collections() == []


def test_nearest_is_by_cosine_whatever_the_length(cell: Cell) -> None:
    put(cell, "same", vector(10, 0))
    put(cell, "near", vector(1, 1))
    put(cell, "opposite", vector(-0.1, 0))
    neighbours = cell.nearest("documents", vector(0.5), 10, EVERYTHING)
    assert [neighbour.row.document_id for neighbour in neighbours] == ["same", "near", "opposite"]
    assert all(each.row.embedding is None for each in neighbours)
    np.testing.assert_allclose([each.distance for each in neighbours], [0, 1 - 0.5**0.5, 2], atol=1e-5)


def test_nearest_and_find_ids_look_at_labels(cell: Cell) -> None:
    put(cell, "public", vector(1), sensitivity=Sensitivity.PUBLIC)
    put(cell, "secret", vector(1), sensitivity=Sensitivity.SECRET)
    condition = RowCondition(frozenset({label(cell.tenant_id, Sensitivity.PUBLIC).key}))
    assert cell.find_ids("documents", condition) == ["public"]
    assert [each.row.document_id for each in cell.nearest("documents", vector(1), 10, condition)] == ["public"]
    nobody = RowCondition(frozenset({"0" * 32}))
    assert cell.find_ids("documents", nobody) == []
    assert cell.nearest("documents", vector(1), 10, nobody) == []


def test_as_many_labels_and_values_as_there_can_be_fit_into_one_condition(cell: Cell) -> None:
    put(cell, "public", vector(1), {"n": 1}, sensitivity=Sensitivity.PUBLIC)
    put(cell, "secret", vector(1, 1), {"n": 2}, sensitivity=Sensitivity.SECRET)
    put(cell, "hidden", vector(1), {"n": 1}, sensitivity=Sensitivity.INTERNAL)
    put(cell, "other", vector(1), {"n": -1}, sensitivity=Sensitivity.PUBLIC)
    visible = {label(cell.tenant_id, sensitivity).key for sensitivity in (Sensitivity.PUBLIC, Sensitivity.SECRET)}
    keys = frozenset(f"{number * 2**112:032x}" for number in range(40_000)) | visible
    metadata = AnyOf(tuple(In("n", tuple(range(start, start + 256))) for start in range(0, 39 * 256, 256)))
    condition = RowCondition(keys, metadata)
    assert sorted(cell.find_ids("documents", condition)) == ["public", "secret"]
    assert len(cell.find_ids("documents", condition, 1)) == 1
    assert [each.row.document_id for each in cell.nearest("documents", vector(1), 5, condition)] == ["public", "secret"]
    assert [each.row.document_id for each in cell.nearest("documents", vector(1), 1, condition)] == ["public"]


def test_a_condition_of_more_values_than_a_query_holds_still_finds_what_matches(cell: Cell) -> None:
    put(cell, "match", vector(1), {"n": 64 * 256 - 1})
    put(cell, "other", vector(1), {"n": -1})
    metadata = AnyOf(tuple(In("n", tuple(range(start, start + 256))) for start in range(0, 64 * 256, 256)))
    assert "match" in cell.find_ids("documents", RowCondition(metadata=metadata))
    nearest = cell.nearest("documents", vector(1), 5, RowCondition(metadata=metadata))
    assert "match" in [each.row.document_id for each in nearest]


@pytest.fixture
def log(cell: Cell) -> ChangeLog:
    assert cell.log is not None
    return cell.log


of_stores_with_a_log = pytest.mark.parametrize("open_store", ["fake", "embedded"], indirect=True)


def test_there_is_no_log_where_others_may_write(store: CellStore, cell: Cell) -> None:
    assert (cell.log is None) == store.has_other_writers


@of_stores_with_a_log
def test_the_log_tells_what_was_written_in_order(cell: Cell, log: ChangeLog) -> None:
    assert log.changes("documents", after=0, limit=10) == []
    positions = [log.position()]
    for number in range(5):
        put(cell, f"row-{number}", vector(1.0, number), {"number": number})
        positions.append(log.position())
    put(cell, "row-1", vector(7, 7), {"other": True})
    positions.append(cell.delete("documents", ["row-0", "nowhere"]))
    assert positions == sorted(set(positions)), "each write has a position of its own"
    changes = log.changes("documents", after=0, limit=100)
    latest = {change.document_id: change.row for change in changes}
    assert latest["row-0"] is None
    assert [change.position for change in changes] == sorted({change.position for change in changes})
    everything = cell.get("documents", [f"row-{number}" for number in range(1, 5)], with_embeddings=True)
    assert [row.document_id for row in everything] == [f"row-{number}" for number in range(1, 5)]
    for row in everything:
        found = latest[row.document_id]
        assert found is not None
        assert (found.text, dict(found.metadata)) == (row.text, dict(row.metadata))
        np.testing.assert_array_equal(found.embedding, row.embedding)
    later = [change.document_id for change in log.changes("documents", after=positions[5], limit=100)]
    assert [each for each in later if each != "nowhere"] == ["row-1", "row-0"]
    assert len(log.changes("documents", after=0, limit=2)) == 2
    assert log.changes("documents", after=positions[-1], limit=2) == []


@of_stores_with_a_log
def test_the_log_knows_all_living_rows_in_the_order_of_their_ids(cell: Cell, log: ChangeLog) -> None:
    for name in ("b", "\U0001f600", "a", "\uffee", "gone", "B"):
        put(cell, name, vector(1))
    put(cell, "a", vector(2, 2))
    cell.delete("documents", ["gone"])
    rows = log.rows_at(log.living("documents").tolist())
    assert [row.document_id for row in rows] == ["B", "a", "b", "\uffee", "\U0001f600"]
    np.testing.assert_array_equal(rows[1].embedding, vector(2, 2))


@of_stores_with_a_log
def test_a_snapshot_is_named_until_another_fits_and_never_an_older_one(cell: Cell, log: ChangeLog) -> None:
    for number in range(3):
        put(cell, str(number), vector(1))
    assert log.snapshot("documents") is None
    key = log.collection_key("documents")
    names = [
        SnapshotName(f"{key}-{number}.rows", 2**32 - 1 - number, log.position() - 2 + number) for number in range(3)
    ]
    for name in names:
        (log.snapshot_folder / name.file_name).touch()
    assert log.name_snapshot("documents", names[1])
    assert log.snapshot("documents") == names[1]
    assert [file.name for file in log.snapshot_folder.glob("*.rows")] == [names[1].file_name]
    assert not log.name_snapshot("documents", names[0])
    assert log.snapshot("documents") == names[1]
    assert log.name_snapshot("documents", names[2])
    log.name_snapshot("documents", None)
    assert log.snapshot("documents") is None
    assert not list(log.snapshot_folder.glob("*.rows"))


def test_find_ids_stops_at_its_limit(cell: Cell) -> None:
    for number in range(5):
        put(cell, str(number), vector(1))
    assert len(cell.find_ids("documents", EVERYTHING, 2)) == 2
    assert len(cell.find_ids("documents", EVERYTHING)) == 5


ROWS: dict[str, Metadata] = {
    "int": {"n": 4, "t": "4"},
    "float": {"n": 4.0},
    "bool": {"n": True},
    "text": {"n": "4"},
    "large": {"n": 2**53 + 1},
    "half": {"n": 0.5, "t": "x"},
    "negative": {"n": -3, "b": False},
    "none": {},
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Equals("n", 4), {"int", "float"}),
        (Equals("n", 4.0), {"int", "float"}),
        (Equals("n", "4"), {"text"}),
        (Equals("n", True), {"bool"}),
        (Equals("n", 1), set()),
        (Equals("b", False), {"negative"}),
        (Equals("b", 0), set()),
        (Equals("n", 2**53 + 1), {"large"}),
        (Equals("n", float(2**53)), set()),
        (Equals("missing", 1), set()),
        (Equals("t", ""), set()),
        (In("n", (4, 0.5)), {"int", "float", "half"}),
        (In("n", (-3,)), {"negative"}),
        (In("t", ("x", "4")), {"int", "half"}),
        (In("b", (True, False)), {"negative"}),
        (Range("n", at_least=4), {"int", "float", "large"}),
        (Range("n", more_than=4), {"large"}),
        (Range("n", at_least=0.25, less_than=4.5), {"int", "float", "half"}),
        (Range("n", at_most=-3), {"negative"}),
        (Range("n", less_than=-3), set()),
        (Range("n", less_than=-2.5), {"negative"}),
        (Range("n", more_than=-3.5, at_most=0.25), {"negative"}),
        (Range("n", more_than=-3.0, less_than=4.5), {"int", "float", "half"}),
        (Equals("n", 4.5), set()),
        (Range("t", at_least=0), set()),
        (Range("n", at_most=1e300, at_least=-1e300), {"int", "float", "large", "half", "negative"}),
        (AllOf((Equals("n", 4), Equals("t", "4"))), {"int"}),
        (AnyOf((Equals("t", "x"), Equals("b", False))), {"half", "negative"}),
        (AllOf((Equals("n", 4),)), {"int", "float"}),
        (AnyOf((AllOf((Range("n", more_than=0), Equals("t", "4"))), In("n", ("4",)))), {"int", "text"}),
    ],
)
def test_every_store_filters_alike(cell: Cell, condition: MetadataFilter, expected: set[str]) -> None:
    for name, metadata in ROWS.items():
        put(cell, name, vector(1), metadata)
    holds = predicate(condition)
    assert {name for name, metadata in ROWS.items() if holds(metadata, str)} == expected
    found = cell.find_ids("documents", RowCondition(metadata=condition))
    assert {name for name in found if holds(ROWS[name], str)} == expected
    assert len(found) <= len(expected) + 1, "coarser than rounding explains"
    both = RowCondition(frozenset({label(cell.tenant_id).key}), condition)
    neighbours = cell.nearest("documents", vector(1), 20, both)
    assert {each.row.document_id for each in neighbours} == set(found)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Not(Equals("t", "4")), {"half"}),
        (Not(Equals("n", "4")), {"int", "float", "bool", "large", "half", "negative"}),
        (Not(In("t", ("4", "y"))), {"half"}),
        (Not(Equals("b", True)), {"negative"}),
        (Not(In("n", (4, 0.5))), {"bool", "text", "large", "negative"}),
        (Not(Equals("n", 2**53)), {"int", "float", "bool", "text", "large", "half", "negative"}),
        (Not(Range("n", at_least=0)), {"bool", "text", "negative"}),
        (Not(Not(Equals("n", 4))), {"int", "float"}),
        (Not(AnyOf((Equals("t", "4"), Equals("n", 4)))), {"half"}),
        (Not(AllOf((Equals("t", "4"), Equals("n", 4)))), {"bool", "text", "large", "half", "negative"}),
        (Exists("t"), {"int", "half"}),
        (Exists("missing"), set()),
        (Not(Exists("n")), {"none"}),
        (AnyOf((Not(Equals("t", "4")), Not(Exists("t")))), set(ROWS) - {"int"}),
        (TextContains("text of int"), {"int"}),
        (TextContains("Text of int"), set()),
        (TextContains("f"), set(ROWS)),
        (AllOf((Not(TextContains("of n")), Equals("n", 4))), {"int", "float"}),
        (AllOf((Not(TextContains("of f")), Range("n", at_least=0.25, less_than=4.5))), {"int", "half"}),
    ],
)
def test_what_chroma_has_no_words_for_is_found_all_the_same(
    cell: Cell, condition: MetadataFilter, expected: set[str]
) -> None:
    for name, metadata in ROWS.items():
        put(cell, name, vector(1), metadata)
    holds = predicate(condition)
    assert {name for name, metadata in ROWS.items() if holds(metadata, partial("text of {}".format, name))} == expected
    both = RowCondition(frozenset({label(cell.tenant_id).key}), condition)
    for found in (
        cell.find_ids("documents", RowCondition(metadata=condition)),
        cell.find_ids("documents", both),
        [each.row.document_id for each in cell.nearest("documents", vector(1), 20, both)],
    ):
        assert expected <= set(found) <= set(ROWS)


def test_reserved_keys_cannot_be_reached_by_a_filter(cell: Cell) -> None:
    put(cell, "one", vector(1))
    for key in ("vs_tenant", "vs_label", "$or", "chroma:document", "m.vs_tenant"):
        assert cell.find_ids("documents", RowCondition(metadata=Equals(key, cell.tenant_id))) == []
        holds = predicate(AnyOf((Exists(key), Not(Equals(key, "")))))
        (row,) = cell.get("documents", ["one"], with_embeddings=False)
        assert not holds(caller_metadata(row.metadata), str)


def test_the_same_ids_in_two_cells_are_two_rows(store: CellStore, cell: Cell, tenant_id: str) -> None:
    other = store.open(f"{tenant_id}2", create=True)
    assert other is not None
    with closing(other):
        other.create_collection(INFO)
        put(cell, "one", vector(1), {"whose": "mine"})
        put(other, "one", vector(1), {"whose": "theirs"})
        cell.delete("documents", ["one"])
        [row] = other.get("documents", ["one"], with_embeddings=False)
        document = from_stored(row, other.tenant_id)
        assert document is not None
        assert document.metadata["whose"] == "theirs"
        assert from_stored(row, cell.tenant_id) is None


def test_what_was_written_is_there_after_opening_again(open_store: Callable[[], CellStore], tenant_id: str) -> None:
    with closing(open_store()) as first:
        cell = first.open(tenant_id, create=True)
        assert cell is not None
        cell.create_collection(INFO)
        put(cell, "one", vector(1, 2), {"n": 1})
        cell.close()
    with closing(open_store()) as second:
        cell = second.open(tenant_id, create=False)
        assert cell is not None
        [neighbour] = cell.nearest("documents", vector(1, 2), 5, EVERYTHING)
        assert neighbour.row.text == "text of one"
        cell.close()


def test_a_heartbeat_of_a_store_that_answers_is_silent(store: CellStore) -> None:
    store.heartbeat()
