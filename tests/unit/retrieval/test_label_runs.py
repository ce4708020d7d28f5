"""A mask that is made by runs of labels is the one that is made row by row."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.worlds import DIMENSIONS, document, label, saved, upsert

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.memory.exact_scan import living_visible, with_unknown
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.memory.label_runs import LabelRuns

RUNS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=12)


@given(RUNS, st.lists(st.booleans(), max_size=6), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_it_is_the_one_of_each_row(
    runs: list[tuple[int, int]], visible_labels: list[bool], seed: int, later: int
) -> None:
    """Labels beyond those that somebody looked at are not visible, and rows beyond the runs stay unmarked."""
    codes = np.array([code for code, count in runs for _ in range(count)], dtype=np.int32)
    visible = np.array(visible_labels, dtype=np.bool_)
    alive = np.random.default_rng(seed).random(len(codes) + later) < 0.7
    mask = np.zeros(len(codes) + later, dtype=np.bool_)
    LabelRuns(codes).mask_into(mask, alive, with_unknown(visible))
    assert np.array_equal(mask[: len(codes)], living_visible(codes, alive[: len(codes)], visible))
    assert not mask[len(codes) :].any()


def test_runs_are_few_where_they_are_worth_it() -> None:
    assert LabelRuns(np.repeat(np.arange(2, dtype=np.int32), 1_000)).are_few
    assert not LabelRuns(np.tile(np.arange(2, dtype=np.int32), 1_000)).are_few
    assert LabelRuns(np.array([], dtype=np.int32)).are_few


LABELS = [label(each) for each in Sensitivity]
ROWS_OF_A_LABEL = 420
"""So that runs are few."""
IDS = [f"d{number:04d}" for number in range(len(LABELS) * ROWS_OF_A_LABEL)]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["relabel", "delete", "upsert"]),
        st.lists(st.sampled_from([*IDS[:: len(IDS) // 12], "later"]), min_size=1, max_size=6, unique=True),
        st.sampled_from(LABELS),
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> CollectionIndex:
    """A snapshot's rows, by label; nobody changes it."""
    index = CollectionIndex(DIMENSIONS)
    labels = [each for each in LABELS for _ in range(ROWS_OF_A_LABEL)]
    upsert(index, [document(id_, of=each) for id_, each in zip(IDS, labels, strict=True)])
    folder: Path = tmp_path_factory.mktemp("snapshot")
    return saved(index, folder / "rows")


@given(CHANGES, st.lists(st.booleans(), min_size=len(LABELS), max_size=len(LABELS)))
def test_what_is_changed_over_a_snapshot_is_masked_by_the_labels_of_now(
    base: CollectionIndex, changes: list[tuple[str, list[str], Label]], seen: list[bool]
) -> None:
    """The runs are those of the snapshot; a row that was relabelled bears another label than they say."""
    index = CollectionIndex(DIMENSIONS, base._base, base.position)
    label_of = {id_: LABELS[number // ROWS_OF_A_LABEL] for number, id_ in enumerate(IDS)}
    for position, (kind, ids, new) in enumerate([("delete", [], LABELS[0]), *changes], base.position + 1):
        if kind == "relabel":
            index.apply(IndexChange(position, relabelled=[(each, new) for each in ids]))
            label_of |= dict.fromkeys(label_of.keys() & set(ids), new)
        elif kind == "delete":
            index.apply(IndexChange(position, deleted=ids))
            label_of = {id_: bears for id_, bears in label_of.items() if id_ not in ids}
        else:
            index.apply(IndexChange(position, [document(each, of=new) for each in ids]))
            label_of |= dict.fromkeys(ids, new)
        visible_labels = {each for each, is_seen in zip(LABELS, seen, strict=True) if is_seen}
        visible = np.array([each in visible_labels for each in index.labels.labels], dtype=np.bool_)
        moment = index.moment()
        mask = moment.mask(visible)
        assert np.array_equal(mask, living_visible(moment.label_codes, moment.alive, visible))
        found = {moment.document_id(row) for row in np.flatnonzero(mask).tolist()}
        assert found == {id_ for id_, bears in label_of.items() if bears in visible_labels}
