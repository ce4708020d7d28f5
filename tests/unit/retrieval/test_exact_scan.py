"""The exact scan against brute force, and its indifference to rows that are not asked about."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsec_retrieval.memory import exact_scan
from vecsec_retrieval.memory.exact_scan import ScanRows, top_k, top_k_of_many
from vecsec_retrieval.memory.quantised_rows import quantise
from vecsec_retrieval.model.embeddings import direction, normalised

SHAPES = st.tuples(
    st.integers(1, 900), st.integers(2, 12), st.integers(1, 20), st.floats(0, 1), st.integers(0, 2**32 - 1)
)


def identifier(row: int) -> str:
    return f"{(row * 7919) % 1000:04d}-{row}"


def named(name: Callable[[int], str]) -> Callable[[Sequence[int]], Iterable[str]]:
    return lambda rows: map(name, rows)


identifiers = named(identifier)


def scan_rows(matrix: np.ndarray, *splits: int) -> list[ScanRows]:
    return [ScanRows(part, quantise(part)) for part in np.split(matrix, sorted(splits))]


def brute_force(matrix: np.ndarray, mask: np.ndarray, query: np.ndarray, k: int) -> list[tuple[int, float]]:
    scores = (matrix.astype(np.float64) * query.astype(np.float64)).sum(axis=1).clip(-1, 1).tolist()
    rows = sorted(mask.nonzero()[0].tolist(), key=lambda row: (-scores[row], identifier(row)))
    return [(row, scores[row]) for row in rows[:k]]


@given(SHAPES)
def test_it_finds_what_brute_force_finds(shape: tuple[int, int, int, float, int]) -> None:
    rows, dimensions, k, share, seed = shape
    random = np.random.default_rng(seed)
    matrix = normalised(random.standard_normal((rows, dimensions)).astype(np.float32))
    query = normalised(random.standard_normal((1, dimensions)).astype(np.float32))[0]
    mask = random.random(rows) < share
    parts = scan_rows(matrix, *random.integers(0, rows + 1, seed % 3).tolist())
    found, expected = top_k(parts, mask, query, k, identifiers), brute_force(matrix, mask, query, k)
    assert [row for row, _ in found] == [row for row, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)


@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_equal_scores_come_in_the_order_of_their_ids(copies: int, k: int, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(5).astype(np.float32)
    matrix = normalised(np.tile(vector, (copies, 1)))
    found = top_k(scan_rows(matrix), np.ones(copies, dtype=np.bool_), matrix[0], k, identifiers)
    assert [row for row, _ in found] == sorted(range(copies), key=identifier)[:k]


@given(st.integers(0, 2**32 - 1), st.sampled_from([20, 400]), st.integers(1, 900))
def test_rows_that_are_not_asked_about_change_nothing(seed: int, own: int, hidden: int) -> None:
    random = np.random.default_rng(seed)
    matrix = normalised(random.standard_normal((own, 64)).astype(np.float32))
    query = matrix[3]
    alone = top_k(scan_rows(matrix), np.ones(own, dtype=np.bool_), query, 7, named(str))
    others = normalised(random.standard_normal((hidden, 64)).astype(np.float32))
    order = random.permutation(own + hidden)
    mixed = np.vstack([matrix, others])[order]
    place = {int(row): position for position, row in enumerate(order)}
    name = {position: str(row) if row < own else "hidden" for row, position in place.items()}
    asked = order < own
    among_others = top_k(scan_rows(mixed), asked, query, 7, named(name.__getitem__))
    assert [(name[row], score) for row, score in among_others] == [(str(row), score) for row, score in alone]


@given(SHAPES, st.lists(st.integers(1, 900), min_size=1, max_size=9), st.sampled_from([1, 1_000, 2_000_000]))
def test_several_queries_find_what_each_finds_alone(
    shape: tuple[int, int, int, float, int], ks: list[int], at_once: int
) -> None:
    rows, dimensions, _, share, seed = shape
    random = np.random.default_rng(seed)
    matrix = normalised(random.standard_normal((rows, dimensions)).astype(np.float32))
    queries = normalised(random.standard_normal((len(ks), dimensions)).astype(np.float32))
    mask = random.random(rows) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_scan, "_BOUNDS_AT_ONCE", at_once)
        together = top_k_of_many(scan_rows(matrix), mask, queries, ks, identifiers)
    alone = [top_k(scan_rows(matrix), mask, query, k, identifiers) for query, k in zip(queries, ks, strict=True)]
    assert together == alone


@given(SHAPES, st.sampled_from([0.0, 1e-7, 1e-3, 0.1, 3.0]))
def test_rows_that_are_nearly_alike_are_told_apart(shape: tuple[int, int, int, float, int], spread: float) -> None:
    rows, dimensions, k, share, seed = shape
    random = np.random.default_rng(seed)
    centre = random.standard_normal(dimensions) * 10.0 ** random.integers(-3, 1, dimensions)
    matrix = normalised((centre + spread * random.standard_normal((rows, dimensions))).astype(np.float32))
    mask = random.random(rows) < share
    assert top_k(scan_rows(matrix), mask, matrix[0], k, identifiers) == brute_force(matrix, mask, matrix[0], k)


@given(SHAPES, st.integers(0, 6))
def test_the_bounds_of_quantised_rows_hold(shape: tuple[int, int, int, float, int], skew: int) -> None:
    rows, dimensions, _, _, seed = shape
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, dimensions)) * 10.0 ** random.integers(-skew, 1, dimensions)
    matrix = normalised((matrix * (random.random((rows, 1)) < 0.9)).astype(np.float32))
    query = normalised(random.standard_normal((1, dimensions)).astype(np.float32))[0]
    ((at_least, at_most),) = quantise(matrix).bounds(query.reshape(1, -1))
    exact = matrix.astype(np.float64) @ query.astype(np.float64)
    assert (at_least <= exact).all()
    assert (exact <= at_most).all()


@pytest.mark.parametrize("dimensions", [2_048, 8_192])
@pytest.mark.parametrize("tail_share", [0.05, 0.2, 0.4])
def test_sums_of_many_numbers_rule_nothing_out_by_their_rounding(dimensions: int, tail_share: float) -> None:
    """Rows nearly alike, whose 32-bit sums are off by up to 3e-5: a few large numbers, then very many small ones."""
    head, end = 64, 8
    tail = dimensions - head - end
    shape = (np.sqrt((1 - tail_share) / head), np.sqrt(tail_share / tail), 0.0)
    query = direction(np.repeat(shape, (head, tail, end)).astype(np.float32))
    rows = []
    for more in np.linspace(1.0, 1.03, 60):
        in_tail = 0.9 * tail_share * more
        in_head = 0.9 - in_tail
        parts = (in_head / head / shape[0], in_tail / tail / shape[1])
        rest = 1 - head * parts[0] ** 2 - tail * parts[1] ** 2
        rows.append(np.repeat((*parts, np.sqrt(rest / end)), (head, tail, end)))
    matrix = normalised(np.stack(rows).astype(np.float32))
    mask = np.ones(len(matrix), dtype=np.bool_)
    assert top_k(scan_rows(matrix), mask, query, 1, identifiers) == brute_force(matrix, mask, query, 1)


def test_scores_stay_within_their_bounds() -> None:
    matrix = normalised(np.full((3, 257), 0.1, dtype=np.float32))
    matrix[1] *= -1
    scores = [score for _, score in top_k(scan_rows(matrix), np.ones(3, dtype=np.bool_), matrix[0], 3, named(str))]
    assert scores[0] <= 1.0
    assert scores[-1] >= -1.0


def test_nothing_is_found_where_nothing_is_asked_about() -> None:
    matrix = np.ones((3, 4), dtype=np.float32)
    assert top_k(scan_rows(matrix), np.zeros(3, dtype=np.bool_), matrix[0], 3, named(str)) == []
    assert top_k(scan_rows(matrix[:0]), np.zeros(0, dtype=np.bool_), matrix[0], 3, named(str)) == []
