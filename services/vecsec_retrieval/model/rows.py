"""What lies in a collection: documents as the rules and callers see them, and rows as a store holds them."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A passage with its label and the caller's own metadata."""

    document_id: str
    text: str
    label: Label
    metadata: Metadata
    embedding: Vector | None = None


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """Of what a score is made: the cosine similarity in [-1, 1], BM25 of the words in common, and the places among the
    rows that were ranked by each, from 1. None where it was not looked at; a rank also of a row that is not among the
    best, a text's score of one that has none of the words."""

    vector_score: float | None = None
    vector_rank: int | None = None
    text_score: float | None = None
    text_rank: int | None = None


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """A document and how well it fits the query: higher is better."""

    document: Document
    score: float
    parts: ScoreParts = ScoreParts()


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
    similarity: float | None = None
    """Its cosine similarity to the bits that a search in memory gives; None where the store reckons more coarsely."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is recorded with a collection when it is made, and never changes."""

    collection_id: str
    embedding_model: str
    dimensions: int
