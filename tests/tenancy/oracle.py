"""What must come back, by a plain table that knows nothing of Cedar, labels' pushdown or ChromaDB."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import wordllama
from numpy.typing import NDArray
from wordllama import WordLlama

LEVELS = {"PUBLIC": 1, "INTERNAL": 2, "CONFIDENTIAL": 3, "SECRET": 4}

#                 highest level, any topic, any level, other tenants, operations
ROLES = {
    "guest":     (1,             False,     False,     False,         {"read"}),
    "analyst":   (2,             False,     False,     False,         {"read"}),
    "superuser": (3,             True,      False,     False,         {"read", "write", "configure"}),
    "admin":     (4,             True,      True,      False,         {"read", "write", "delete", "configure"}),
}  # fmt: skip
CLEARANCES = dict(zip(ROLES, LEVELS, strict=True))
"""What each role claims at its highest."""


@dataclass(frozen=True)
class Person:
    """A caller."""

    tenant_id: str
    role: str
    clearance: str


@dataclass(frozen=True)
class Row:
    """A stored document."""

    text: str
    sensitivity: str
    topics: tuple[str, ...]


@dataclass
class Oracle:
    """All that is stored, and who may touch it."""

    scopes: dict[str, set[str]]
    """Each tenant's topics."""
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    """Each tenant's documents by id."""

    def may_enter(self, person: Person, tenant_id: str, action: str) -> bool:
        *_, others, operations = ROLES[person.role]
        return action in operations and (person.tenant_id == tenant_id or (others and action in ("read", "configure")))

    def may_touch(self, person: Person, row: Row) -> bool:
        highest, any_topic, any_level, _, _ = ROLES[person.role]
        level_fits = any_level or LEVELS[row.sensitivity] <= min(highest, LEVELS[person.clearance])
        return level_fits and (any_topic or set(row.topics) <= self.scopes[person.tenant_id])

    def readable(self, person: Person, tenant_id: str) -> dict[str, Row]:
        if not self.may_enter(person, tenant_id, "read"):
            return {}
        return {name: row for name, row in self.rows.get(tenant_id, {}).items() if self.may_touch(person, row)}


class Scorer:
    """Cosine similarities by the default model, computed on their own."""

    def __init__(self) -> None:
        self._model = WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

    def scores(self, query: str, texts: list[str]) -> NDArray[np.float64]:
        vectors = np.asarray(self._model.embed([query, *texts]), dtype=np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors[1:] @ vectors[0]
