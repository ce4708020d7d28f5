"""Directions in the embedding space: cosine similarity looks at nothing else of a vector."""

import numpy as np

from vecsec_retrieval.rows import Matrix, Vector


def normalised(matrix: Matrix) -> Matrix:
    """Each row of a (rows, dimensions) matrix scaled to length 1; rows without a direction become zeros."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = matrix / lengths
    return np.where(np.isfinite(scaled), scaled, 0).astype(np.float32, copy=False)


def has_direction(vector: Vector) -> bool:
    """Whether the vector is finite and not too near to zero to have a direction in 32-bit numbers."""
    length = np.linalg.norm(vector.astype(np.float64))
    return bool(np.isfinite(length) and length > np.finfo(np.float32).tiny)
