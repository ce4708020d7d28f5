"""What lies in a collection: documents as the rules and callers see them, rows as a store holds them, and vectors, of
which cosine similarity looks at nothing but the direction."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecsec_chassis.domain.labels import Label

MetadataValue: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, MetadataValue]
Vector: TypeAlias = NDArray[np.float32]
"""One embedding, of shape (dimensions,)."""
Matrix: TypeAlias = NDArray[np.float32]
"""Embeddings, of shape (rows, dimensions)."""

EXTERNAL_MODEL = "external"
"""The model's name of a collection whose callers bring all embeddings."""

_TINY = float(np.finfo(np.float32).tiny)
_SHORTEST, _LONGEST = 1e-15, 1e15
"""Of vectors that are stored: beyond these, sums of squares leave the range of 32-bit numbers, here and in Chroma."""


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A passage with its label and the caller's own metadata."""

    document_id: str
    text: str
    label: Label
    metadata: Metadata
    embedding: Vector | None = None


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """A document and its cosine similarity to the query, in [-1, 1]."""

    document: Document
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class StoredRow:
    """A row as a store holds it, with tags among its metadata; `tagging.py` turns it into a document and back.

    A metadata value of None removes the key from a row that is replaced: Chroma's upsert merges metadata.
    """

    document_id: str
    text: str
    metadata: Mapping[str, MetadataValue | None]
    embedding: Vector | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row and its cosine distance to the query, in [0, 2]."""

    row: StoredRow
    distance: float


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is recorded with a collection when it is made, and never changes."""

    collection_id: str
    embedding_model: str
    dimensions: int


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
