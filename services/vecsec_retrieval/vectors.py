"""Directions in the embedding space: cosine similarity looks at nothing else of a vector."""

import math

import numpy as np

from vecsec_retrieval.rows import Matrix, Vector

_TINY = float(np.finfo(np.float32).tiny)
_SHORTEST, _LONGEST = 1e-15, 1e15
"""Of vectors that are stored: beyond these, sums of squares leave the range of 32-bit numbers, here and in Chroma."""


def normalised(matrix: Matrix) -> Matrix:
    """Each row of a (rows, dimensions) matrix scaled to length 1; rows that have no direction (see `has_direction`) may
    become zeros."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = matrix / lengths
    return np.where(np.isfinite(scaled), scaled, 0).astype(np.float32, copy=False)


def direction(vector: Vector) -> Vector:
    """One vector scaled to length 1, zeros if it has no direction; NumPy's ways for matrices take ten times as long."""
    exact = vector.astype(np.float64)
    length = math.sqrt(exact.dot(exact))
    return (exact / length).astype(np.float32) if _TINY < length < math.inf else np.zeros_like(vector)


def has_direction(vector: Vector) -> bool:
    """Whether the vector is finite and has a length that 32-bit numbers can reckon with, from 1e-15 to 1e15."""
    exact = vector.astype(np.float64)
    return _SHORTEST <= math.sqrt(exact.dot(exact)) <= _LONGEST
