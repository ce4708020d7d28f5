"""Cosine similarity to the bit: the same wherever a row is, and whatever rows are beside it."""

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.model.rows import Matrix, Vector


def dot_products(matrix: Matrix, query: Vector) -> NDArray[np.float64]:
    """The rows' dot products with the query, reckoned with 64 bits: each to the same bits, whatever rows are beside."""
    # NumPy's bare functions: its methods for the same take twice as long for few rows.
    products: NDArray[np.float64] = np.add.reduce(matrix.astype(np.float64) * query.astype(np.float64), axis=1)
    return products


def cosines(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dot products of vectors that have length 1 but for rounding, as similarities in [-1, 1]."""
    return np.maximum(np.minimum(products, 1.0), -1.0)
