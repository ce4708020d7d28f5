"""Deterministic passages for many tenants, embedded once, so that both sides store and search the same."""

import random
from collections.abc import Callable, Sequence
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


INTERNAL, SECRET = 2, 4
"""Levels of sensitivity, numbered as in `vecsec.type.v1.Sensitivity`."""


@dataclass(frozen=True)
class Tenant:
    """One tenant's passages."""

    tenant_id: str
    texts: Sequence[str]
    embeddings: NDArray[np.float32]
    """Shape (passages, 256), as the model gives them."""
    level: Callable[[int], int]
    """The sensitivity of a passage, by its row."""

    def document_id(self, row: int) -> str:
        return f"doc-{row:06d}"


class Model:
    """The embedding model that VecSec uses by default."""

    def __init__(self) -> None:
        folder = Path(wordllama.__file__).parent
        self._model = WordLlama.load(cache_dir=folder, disable_download=True)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(self._model.embed(texts), dtype=np.float32)


def tenant_id(number: int) -> str:
    return f"bench_{number:04d}"


def half_visible(row: int) -> int:
    """Levels of which an analyst sees every second one."""
    return SECRET if row % 2 else INTERNAL


def make_tenant(model: Model, number: int, rows: int, level: Callable[[int], int] = half_visible) -> Tenant:
    """The tenant with this number; the same one in every run."""
    generator = random.Random(number)
    texts = [" ".join(generator.choices(WORDS, k=WORDS_A_PASSAGE)) for _ in range(rows)]
    return Tenant(tenant_id(number), texts, model.embed(texts), level)


def make_queries(count: int) -> list[str]:
    """Search texts; the same ones in every run."""
    generator = random.Random("queries")
    return [" ".join(generator.choices(WORDS, k=WORDS_A_QUERY)) for _ in range(count)]


def nearest(tenant: Tenant, query: NDArray[np.float32], k: int, level: int = INTERNAL) -> list[str]:
    """The exact answer among the passages up to a level, by brute force: what recall is measured against."""
    matrix = tenant.embeddings / np.linalg.norm(tenant.embeddings, axis=1, keepdims=True)
    scores = matrix @ (query / np.linalg.norm(query))
    visible = [row for row in range(len(tenant.texts)) if tenant.level(row) <= level]
    return [tenant.document_id(row) for row in sorted(visible, key=lambda row: -scores[row])[:k]]
