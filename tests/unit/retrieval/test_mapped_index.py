"""An index with its vectors in a file: it finds the same as a plain dictionary would say, whatever is written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.retrieval.worlds import DIMENSIONS, document, label

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.exact_scan import top_k
from vecsec_retrieval.memory.mapped_index import MappedIndex, MappedSnapshot
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.rows import Vector

STEPS = st.lists(
    st.tuples(st.dictionaries(st.integers(0, 30), st.sampled_from(Sensitivity)), st.sets(st.integers(0, 30))),
    max_size=8,
)
RANDOM = np.random.default_rng(3)


def vector() -> Vector:
    return RANDOM.standard_normal(DIMENSIONS).astype(np.float32)


def found(snapshot: MappedSnapshot, visible: np.ndarray, query: Vector, k: int) -> dict[str, float]:
    rows = top_k(snapshot.scanned, snapshot.mask(visible), query, k, lambda rows: [snapshot.ids[row] for row in rows])
    return {snapshot.ids[row]: score for row, score in rows}


@pytest.fixture(autouse=True)
def files_that_grow_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecsec_retrieval.memory.vector_file._FIRST_CAPACITY", 8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.sets(st.sampled_from(Sensitivity)), st.booleans())
def test_it_finds_what_is_there_and_nothing_that_was(
    steps: list[tuple[dict[int, Sensitivity], set[int]]], seen: set[Sensitivity], is_rewritten: bool
) -> None:
    index, expected, query = MappedIndex(DIMENSIONS, None), {}, direction(vector())
    kept: list[tuple[MappedSnapshot, np.ndarray, dict[str, float]]] = []
    for written, removed in steps:
        for _ in range(5 if is_rewritten else 1):
            documents = [document(f"d{number}", vector(), label(each)) for number, each in written.items()]
            index.upsert(documents)
        index.delete([f"d{number}" for number in removed])
        expected.update({each.document_id: each for each in documents})
        expected = {key: each for key, each in expected.items() if key not in {f"d{number}" for number in removed}}
        visible = np.array([each.sensitivity in seen for each in index.labels.labels], dtype=np.bool_)
        kept.append((index.snapshot(), visible, found(index.snapshot(), visible, query, 40)))
        wanted = {
            key: float(direction(each.embedding) @ query)
            for key, each in expected.items()
            if each.embedding is not None and each.label.sensitivity in seen
        }
        answer = kept[-1][2]
        assert answer.keys() == wanted.keys()
        assert all(abs(score - wanted[key]) < 1e-5 for key, score in answer.items())
        assert list(answer.values()) == sorted(answer.values(), reverse=True)
        assert len(index) == len(expected)
        assert not found(index.snapshot(), visible[:0], query, 40)
    for snapshot, visible, answer in kept:
        assert found(snapshot, visible, query, 40) == answer, "what was taken before is as it was"


def test_most_rows_dead_is_worth_loading_anew_and_few_are_not() -> None:
    index = MappedIndex(DIMENSIONS, None)
    documents = [document(str(number)) for number in range(1_100)]
    index.upsert(documents)
    index.upsert(documents[:900])
    assert not index.is_worth_reloading
    index.upsert(documents)
    assert index.is_worth_reloading
    assert len(index) == 1_100


def test_only_the_heap_counts_as_memory(tmp_path: Path) -> None:
    def size(dimensions: int) -> int:
        index = MappedIndex(dimensions, tmp_path)
        vectors = np.random.default_rng(1).standard_normal((500, dimensions)).astype(np.float32)
        index.upsert([document(str(number), each) for number, each in enumerate(vectors)])
        return index.approximate_bytes

    assert size(4) == size(400) < 500 * 250
