"""The exact scan against brute force, and its indifference to rows that are not asked about."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vecsec_retrieval.exact_scan import top_k
from vecsec_retrieval.vectors import normalised

SHAPES = st.tuples(
    st.integers(1, 60), st.integers(2, 12), st.integers(1, 20), st.floats(0, 1), st.integers(0, 2**32 - 1)
)


def identifier(row: int) -> str:
    return f"{(row * 7919) % 1000:04d}-{row}"


def brute_force(matrix: np.ndarray, mask: np.ndarray, query: np.ndarray, k: int) -> list[tuple[int, float]]:
    scores = {row: float(np.dot(matrix[row].astype(np.float64), query.astype(np.float64))) for row in mask.nonzero()[0]}
    return sorted(((int(row), score) for row, score in scores.items()), key=lambda hit: (-hit[1], identifier(hit[0])))[
        :k
    ]


@given(SHAPES)
def test_it_finds_what_brute_force_finds(shape: tuple[int, int, int, float, int]) -> None:
    rows, dimensions, k, share, seed = shape
    random = np.random.default_rng(seed)
    matrix = normalised(random.standard_normal((rows, dimensions)).astype(np.float32))
    query = normalised(random.standard_normal((1, dimensions)).astype(np.float32))[0]
    mask = random.random(rows) < share
    found, expected = top_k(matrix, mask, query, k, identifier), brute_force(matrix, mask, query, k)
    assert [row for row, _ in found] == [row for row, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)


@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_equal_scores_come_in_the_order_of_their_ids(copies: int, k: int, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(5).astype(np.float32)
    matrix = normalised(np.tile(vector, (copies, 1)))
    found = top_k(matrix, np.ones(copies, dtype=np.bool_), matrix[0], k, identifier)
    assert [row for row, _ in found] == sorted(range(copies), key=identifier)[:k]


@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_rows_that_are_not_asked_about_change_nothing(seed: int, hidden: int) -> None:
    random = np.random.default_rng(seed)
    matrix = normalised(random.standard_normal((20, 64)).astype(np.float32))
    query = matrix[3]
    alone = top_k(matrix, np.ones(20, dtype=np.bool_), query, 7, str)
    others = normalised(random.standard_normal((hidden, 64)).astype(np.float32))
    order = random.permutation(20 + hidden)
    mixed = np.vstack([matrix, others])[order]
    place = {int(row): position for position, row in enumerate(order)}
    name = {position: str(row) if row < 20 else "hidden" for row, position in place.items()}
    among_others = top_k(
        mixed, np.array([order[position] < 20 for position in range(20 + hidden)]), query, 7, name.__getitem__
    )
    assert [(name[row], score) for row, score in among_others] == [(str(row), score) for row, score in alone]


def test_scores_stay_within_their_bounds() -> None:
    matrix = normalised(np.full((3, 257), 0.1, dtype=np.float32))
    matrix[1] *= -1
    scores = [score for _, score in top_k(matrix, np.ones(3, dtype=np.bool_), matrix[0], 3, str)]
    assert scores[0] <= 1.0
    assert scores[-1] >= -1.0


def test_nothing_is_found_where_nothing_is_asked_about() -> None:
    matrix = np.ones((3, 4), dtype=np.float32)
    assert top_k(matrix, np.zeros(3, dtype=np.bool_), matrix[0], 3, str) == []
    assert top_k(np.empty((0, 4), dtype=np.float32), np.zeros(0, dtype=np.bool_), matrix[0], 3, str) == []
