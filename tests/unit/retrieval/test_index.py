"""The index against a plain dictionary, saved in between or not, and moments that stay as they were."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.worlds import DIMENSIONS, delete, document, label, saved, upsert

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.memory.exact_scan import top_k
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange, KnownRows
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.visibility.label_table import Visible

QUERY = np.full(DIMENSIONS, DIMENSIONS**-0.5, dtype=np.float32)
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
SAVE = None


@dataclass(frozen=True)
class Relabel:
    ids: frozenset[str]
    label: Label
    are_rows_known: bool


STEPS = st.lists(
    st.one_of(
        BATCHES,
        st.frozensets(IDS, max_size=6),
        st.just(SAVE),
        st.builds(Relabel, st.frozensets(IDS, max_size=6), st.sampled_from(LABELS), st.booleans()),
    ),
    max_size=30,
)
Step = list[Document] | frozenset[str] | Relabel | None


def everything(index: CollectionIndex) -> Visible:
    return np.ones(len(index.labels), dtype=np.bool_)


def labelled(index: CollectionIndex, *of: Label) -> Visible:
    return np.array([known in of for known in index.labels.labels], dtype=np.bool_)


def contents(index: CollectionIndex) -> dict[str, tuple[str, str]]:
    moment = index.moment()
    return {
        moment.document_id(row): (moment.document(row).label.key, moment.document(row).text)
        for row in np.flatnonzero(moment.mask(everything(index))).tolist()
    }


def done(index: CollectionIndex, step: Step, folder: str) -> CollectionIndex:
    """The index after a step: another one, if it is saved."""
    if step is SAVE:
        return saved(index, Path(folder) / f"{index.position}.rows")
    if isinstance(step, Relabel):
        relabel(index, step)
    elif isinstance(step, frozenset):
        delete(index, step)
    else:
        upsert(index, step)
    return index


def relabel(index: CollectionIndex, step: Relabel) -> None:
    there = {each: row for each in sorted(step.ids) if (row := index.row(each)) is not None}
    rows = KnownRows(index, np.array(list(there.values()), dtype=np.int64)) if step.are_rows_known else None
    ids = there if step.are_rows_known else step.ids
    index.apply(IndexChange(index.position + 1, relabelled=[(each, step.label) for each in ids], rows=rows))


@given(STEPS)
def test_it_holds_what_a_dictionary_would(steps: list[Step]) -> None:
    index, model = CollectionIndex(DIMENSIONS), dict[str, Document]()
    with tempfile.TemporaryDirectory() as folder:
        for step in steps:
            index = done(index, step, folder)
            if isinstance(step, frozenset):
                for document_id in step:
                    model.pop(document_id, None)
            elif isinstance(step, Relabel):
                model.update({each: replace(model[each], label=step.label) for each in step.ids if each in model})
            else:
                model.update({each.document_id: each for each in step or ()})
            assert contents(index) == {name: (each.label.key, each.text) for name, each in model.items()}
            assert len(index) == len(model)
            moment = index.moment()
            for of in LABELS:
                rows = [each for each in model.values() if each.label == of]
                mask = moment.mask(labelled(index, of))
                assert np.count_nonzero(mask) == len(rows)
                assert moment.metadata_keys(mask) == {key for each in rows for key in each.metadata}
            for name in ("d0", "d1"):
                found, row = index.label_and_keys(name), index.row(name)
                if name not in model:
                    assert (found, row) == (None, None)
                else:
                    assert row is not None
                    assert moment.document_id(row) == name
                    assert moment.metadata(row) == model[name].metadata
                    assert found == (model[name].label, frozenset(model[name].metadata))


@given(STEPS, STEPS)
def test_a_moment_stays_as_it_was(before: list[Step], after: list[Step]) -> None:
    index = CollectionIndex(DIMENSIONS)
    with tempfile.TemporaryDirectory() as folder:
        for step in before:
            index = done(index, step, folder)
        moment, visible = index.moment(), everything(index)
        mask = moment.mask(visible)
        rows, keys = np.flatnonzero(mask).tolist(), moment.metadata_keys(mask)
        scores = top_k(moment.parts, mask, QUERY, 100, lambda rows: map(str, rows))
        documents = [as_told(moment.document(row)) for row in rows]
        for step in after:
            index = done(index, step, folder)
        assert np.array_equal(moment.mask(visible), mask)
        assert top_k(moment.parts, mask, QUERY, 100, lambda rows: map(str, rows)) == scores
        assert [as_told(moment.document(row)) for row in rows] == documents
        assert moment.metadata_keys(mask) == keys


def as_told(row: Document) -> tuple[object, ...]:
    return row.document_id, row.text, row.label, dict(row.metadata)


def test_room_is_made_without_touching_what_others_read() -> None:
    index = CollectionIndex(DIMENSIONS)
    documents = [document(str(number)) for number in range(64)]
    upsert(index, documents)
    before = index.moment()
    assert index.lacks_room(1)
    index.make_room(1_000)
    assert not index.lacks_room(1_000)
    matrix = index._matrix
    upsert(index, [document(f"more-{number}") for number in range(1_000)])
    assert index._matrix is matrix, "nothing moves any more"
    assert np.array_equal(index.moment().parts[0].exact[:64], before.parts[0].exact)
    assert np.array_equal(index.moment().alive[:64], before.alive)


@pytest.mark.parametrize(
    "row",
    [
        document("wide", text="\u0434" * 10_000),
        document("metadata", metadata={f"key-{number}": "v" * 500 for number in range(40)}),
    ],
)
def test_memory_is_counted_as_it_is_taken(row: Document) -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("first")])
    before = index.approximate_bytes
    upsert(index, [row])
    assert 20_000 < index.approximate_bytes - before < 30_000


def test_labels_that_came_after_somebody_looked_are_not_seen() -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("old", of=LABELS[0])])
    seen = everything(index)
    upsert(index, [document("new", of=LABELS[1])])
    assert index.moment().mask(seen).tolist() == [True, False]


def test_rows_with_equal_labels_share_one() -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document(str(number), of=label(owner="alice")) for number in range(3)])
    assert len({id(each.label) for each in index.moment().later}) == 1
    before = index.approximate_bytes
    upsert(index, [document("another", of=label(owner="bob"))])
    alone = index.approximate_bytes - before
    upsert(index, [document("the same", of=label(owner="bob"))])
    assert index.approximate_bytes - before < 2 * alone, "a label counts in the memory budget, once"


def test_documents_are_kept_without_their_embeddings() -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("one")])
    row = index.row("one")
    assert row is not None
    assert index.moment().document(row).embedding is None


def test_ids_of_untagged_rows_are_forgotten_once_replaced_or_deleted() -> None:
    index = CollectionIndex(DIMENSIONS)
    index.apply(IndexChange(1, untagged=["one", "two", "three"]))
    upsert(index, [document("one")])
    delete(index, ["two"])
    assert index.untagged_ids == {"three"}


def test_a_snapshot_whose_rows_were_relabelled_or_deleted_is_known_to_be_behind(tmp_path: Path) -> None:
    """Else it would be taken to hold the log up to here, and bring old labels back."""
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("one", of=LABELS[0]), document("two", of=LABELS[0])])
    index = saved(index, tmp_path / "first.rows")
    assert index.changed_rows == 0
    relabel(index, Relabel(frozenset({"one"}), LABELS[1], are_rows_known=True))
    assert index.changed_rows == 1
    known = KnownRows(index, np.array([index.row("two")]))
    index.apply(IndexChange(index.position + 1, deleted=["two"], rows=known))
    assert (index.changed_rows, index.row("two")) == (2, None)
    index = saved(index, tmp_path / "second.rows")
    assert (index.changed_rows, contents(index)) == (0, {"one": (LABELS[1].key, "text of one")})
