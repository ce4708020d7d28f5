"""Ids and labels of rows that are not in memory: the same as a plain dictionary would say, whatever is written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.worlds import document, label

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.id_index import IdIndex

STEPS = st.lists(
    st.tuples(st.dictionaries(st.integers(0, 30), st.sampled_from(Sensitivity)), st.sets(st.integers(0, 30))),
    max_size=8,
)


@given(STEPS, st.sets(st.sampled_from(Sensitivity)), st.booleans())
def test_it_counts_and_names_what_is_there(
    steps: list[tuple[dict[int, Sensitivity], set[int]]], seen: set[Sensitivity], compacts: bool
) -> None:
    id_index, expected = IdIndex(), {}
    for written, removed in steps:
        for _ in range(60 if compacts else 1):
            id_index.upsert([document(f"d{number}", of=label(each)) for number, each in written.items()])
        id_index.delete([f"d{number}" for number in removed])
        expected.update({f"d{number}": each for number, each in written.items()})
        expected = {key: each for key, each in expected.items() if key not in {f"d{number}" for number in removed}}
    visible = np.array([each.sensitivity in seen for each in id_index.labels.labels], dtype=np.bool_)
    wanted = {key for key, each in expected.items() if each in seen}
    assert len(id_index) == len(expected)
    assert id_index.count(visible) == len(wanted)
    assert sorted(id_index.ids(visible)) == sorted(wanted)
    assert id_index.count(visible[:0]) == 0
    assert id_index.ids(visible[:0]) == []
