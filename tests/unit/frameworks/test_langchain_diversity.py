"""Maximal marginal relevance as LangChain's own stores have it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_vecsec.diversity import most_diverse


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 14), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
def test_the_choice_is_that_of_langchains_function(seed: int, count: int, k: int, weight: float) -> None:
    random = np.random.default_rng(seed)
    query, vectors = random.normal(size=6), random.normal(size=(count, 6))
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    scores = [float(score) for score in vectors @ query / lengths]
    vectors = vectors[np.argsort(scores)[::-1]]  # as a search gives them: of rows alike, theirs is the first
    chosen = most_diverse(sorted(scores, reverse=True), vectors.tolist(), k, weight)
    assert chosen == maximal_marginal_relevance(query, vectors.tolist(), weight, k)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_without_a_direction_are_unlike_all_others(count: int) -> None:
    assert most_diverse([0.0] * count, [[0.0, 0.0]] * count, 2, 0.5) == list(range(min(2, count)))
