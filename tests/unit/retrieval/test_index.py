"""The index against a plain dictionary, and snapshots that stay as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.worlds import DIMENSIONS, document, label

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.label_table import Visible

IDS = st.sampled_from([f"d{number}" for number in range(12)])
LABELS = [label(Sensitivity.PUBLIC), label(Sensitivity.SECRET), label(Sensitivity.PUBLIC, {"b"})]
DOCUMENTS = st.builds(
    lambda name, of, keys, seed: document(
        name, np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32), of, dict.fromkeys(keys, 1)
    ),
    IDS,
    st.sampled_from(LABELS),
    st.frozensets(st.sampled_from(["x", "y", "z"])),
    st.integers(0, 1000),
)
BATCHES = st.lists(DOCUMENTS, max_size=6, unique_by=lambda each: each.document_id)
STEPS = st.lists(st.one_of(BATCHES, st.frozensets(IDS, max_size=6)), max_size=30)


def everything(index: CollectionIndex) -> Visible:
    return np.ones(len(index.labels), dtype=np.bool_)


def labelled(index: CollectionIndex, *of: Label) -> Visible:
    return np.array([known in of for known in index.labels.labels], dtype=np.bool_)


def contents(index: CollectionIndex) -> dict[str, tuple[str, str]]:
    snapshot = index.snapshot()
    return {
        snapshot.documents[row].document_id: (snapshot.documents[row].label.key, snapshot.documents[row].text)
        for row in np.flatnonzero(snapshot.mask(everything(index))).tolist()
    }


@given(STEPS)
def test_it_holds_what_a_dictionary_would(steps: list[list[Document] | frozenset[str]]) -> None:
    index, model = CollectionIndex(DIMENSIONS), dict[str, Document]()
    for step in steps:
        if isinstance(step, frozenset):
            index.delete(step)
            for document_id in step:
                model.pop(document_id, None)
        else:
            index.upsert(step)
            model.update({each.document_id: each for each in step})
        assert contents(index) == {name: (each.label.key, each.text) for name, each in model.items()}
        assert len(index) == len(model)
        snapshot = index.snapshot()
        for of in LABELS:
            rows = [each for each in model.values() if each.label == of]
            mask = snapshot.mask(labelled(index, of))
            assert np.count_nonzero(mask) == len(rows)
            assert snapshot.metadata_keys(mask) == {key for each in rows for key in each.metadata}
        for name in ("d0", "d1"):
            found, row = index.find(name), index.row(name)
            assert (found is None) == (row is None) == (name not in model)
            assert row is None or snapshot.documents[row] is found


@given(STEPS, STEPS)
def test_a_snapshot_stays_as_it_was(
    before: list[list[Document] | frozenset[str]], after: list[list[Document] | frozenset[str]]
) -> None:
    index = CollectionIndex(DIMENSIONS)

    def do(steps: list[list[Document] | frozenset[str]]) -> None:
        for step in steps:
            index.delete(step) if isinstance(step, frozenset) else index.upsert(step)

    do(before)
    snapshot, visible = index.snapshot(), everything(index)
    mask = snapshot.mask(visible)
    rows, keys = np.flatnonzero(mask).tolist(), snapshot.metadata_keys(mask)
    matrix, documents = snapshot.scanned.exact[rows].copy(), [snapshot.documents[row] for row in rows]
    do(after)
    assert np.array_equal(snapshot.mask(visible), mask)
    assert np.array_equal(snapshot.scanned.exact[rows], matrix)
    assert [snapshot.documents[row] for row in rows] == documents
    assert snapshot.metadata_keys(mask) == keys


def test_room_is_made_without_touching_what_others_read() -> None:
    index = CollectionIndex(DIMENSIONS)
    documents = [document(str(number)) for number in range(64)]
    index.upsert(documents)
    before = index.snapshot()
    assert index.lacks_room(1)
    index.make_room(1_000)
    assert not index.lacks_room(1_000)
    matrix = index._matrix
    index.upsert([document(f"more-{number}") for number in range(1_000)])
    assert index._matrix is matrix, "nothing moves any more"
    assert np.array_equal(index.snapshot().scanned.exact[:64], before.scanned.exact)
    assert np.array_equal(index.snapshot().alive[:64], before.alive)


@pytest.mark.parametrize(
    "row",
    [
        document("wide", text="\u0434" * 10_000),
        document("metadata", metadata={f"key-{number}": "v" * 500 for number in range(40)}),
    ],
)
def test_memory_is_counted_as_it_is_taken(row: Document) -> None:
    index = CollectionIndex(DIMENSIONS)
    index.upsert([document("first")])
    before = index.approximate_bytes
    index.upsert([row])
    assert 20_000 < index.approximate_bytes - before < 30_000


def test_dead_rows_are_compacted_away() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.upsert([document(str(number)) for number in range(100)])
    full = index.approximate_bytes
    assert not index.is_worth_compacting
    index.delete(str(number) for number in range(90))
    assert index.is_worth_compacting
    compacted = index.compaction()()
    assert not compacted.is_worth_compacting
    assert [each.document_id for each in compacted.snapshot().documents] == [str(number) for number in range(90, 100)]
    assert compacted.approximate_bytes < full


def test_what_is_written_while_rows_are_compacted_is_not_part_of_it() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.upsert([document("old", of=LABELS[0], metadata={"x": 1}), document("gone"), document("replaced")])
    index.delete(["gone"])
    compaction = index.compaction()
    index.upsert([document("new", of=LABELS[1], metadata={"y": 1}), document("replaced", of=LABELS[2])])
    index.delete(["old"])
    compacted = compaction()
    assert [each.document_id for each in compacted.snapshot().documents] == ["old", "replaced"]
    assert compacted.snapshot().mask(everything(compacted)).all()
    assert LABELS[1] not in compacted.labels.labels
    assert compacted.state != index.state


def test_compaction_forgets_labels_without_rows_and_keeps_the_others() -> None:
    index, gone, kept = CollectionIndex(DIMENSIONS), LABELS[0], LABELS[1]
    index.upsert([document(f"gone{number}", of=gone, metadata={"x": 1}) for number in range(50)])
    vectors = np.eye(DIMENSIONS, dtype=np.float32)
    index.upsert([document(f"kept{number}", vectors[number], kept, {"y": 1}) for number in range(DIMENSIONS)])
    index.delete(f"gone{number}" for number in range(50))
    index = index.compaction()()
    snapshot = index.snapshot()
    assert index.labels.labels == [kept]
    mask = snapshot.mask(everything(index))
    assert np.count_nonzero(mask) == DIMENSIONS
    assert snapshot.metadata_keys(mask) == {"y"}
    assert np.array_equal(snapshot.scanned.exact, vectors)
    index.upsert([document("new", of=gone)])
    assert index.labels.labels == [kept, gone]


def test_labels_that_came_after_somebody_looked_are_not_seen() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.upsert([document("old", of=LABELS[0])])
    seen = everything(index)
    index.upsert([document("new", of=LABELS[1])])
    assert index.snapshot().mask(seen).tolist() == [True, False]


def test_rows_with_equal_labels_share_one() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.upsert([document(str(number), of=label(owner="alice")) for number in range(3)])
    assert len({id(each.label) for each in index.snapshot().documents}) == 1
    before = index.approximate_bytes
    index.upsert([document("another", of=label(owner="bob"))])
    alone = index.approximate_bytes - before
    index.upsert([document("the same", of=label(owner="bob"))])
    assert index.approximate_bytes - before < 2 * alone, "a label counts in the memory budget, once"


def test_documents_are_kept_without_their_embeddings() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.upsert([document("one")])
    found = index.find("one")
    assert found is not None
    assert found.embedding is None


def test_ids_of_untagged_rows_are_forgotten_once_replaced_or_deleted() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.untagged_ids.update({"one", "two", "three"})
    index.upsert([document("one")])
    index.delete(["two"])
    assert index.untagged_ids == {"three"}
