"""Deterministic passages for many tenants, embedded once, so that both sides store and search the same."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wordllama
from numpy.typing import NDArray
from wordllama import WordLlama

WORDS = Path(__file__).with_name("words.txt").read_text().split()

DIMENSIONS = 256
WORDS_A_PASSAGE = 60
WORDS_A_QUERY = 6


@dataclass(frozen=True)
class Tenant:
    """One tenant's passages: every second one is INTERNAL, the others SECRET."""

    tenant_id: str
    texts: list[str]
    embeddings: NDArray[np.float32]
    """Shape (passages, 256), as the model gives them."""

    def document_id(self, row: int) -> str:
        return f"doc-{row:06d}"

    def is_internal(self, row: int) -> bool:
        return row % 2 == 0


class Model:
    """The embedding model that VecSec uses by default."""

    def __init__(self) -> None:
        folder = Path(wordllama.__file__).parent
        self._model = WordLlama.load(cache_dir=folder, disable_download=True)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(self._model.embed(texts), dtype=np.float32)


def make_tenant(model: Model, number: int, rows: int) -> Tenant:
    """The tenant with this number; the same one in every run."""
    generator = random.Random(number)
    texts = [" ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE)) for _ in range(rows)]
    return Tenant(f"bench_{number:04d}", texts, model.embed(texts))


def make_queries(count: int) -> list[str]:
    """Search texts; the same ones in every run."""
    generator = random.Random("queries")
    return [" ".join(generator.choices(WORDS, k=WORDS_A_QUERY)) for _ in range(count)]


def nearest(tenant: Tenant, query: NDArray[np.float32], k: int) -> list[str]:
    """The exact answer among the INTERNAL passages, by brute force: what recall is measured against."""
    matrix = tenant.embeddings / np.linalg.norm(tenant.embeddings, axis=1, keepdims=True)
    scores = matrix @ (query / np.linalg.norm(query))
    visible = [row for row in range(len(tenant.texts)) if tenant.is_internal(row)]
    return [tenant.document_id(row) for row in sorted(visible, key=lambda row: -scores[row])[:k]]
