"""Embeddings of queries are remembered for the caller who asked, and for nobody else."""

from collections.abc import Sequence

import numpy as np
import pytest

from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_retrieval.model.cache_scope import CacheScope
from vecsec_retrieval.model.embeddings import EmbeddingModels
from vecsec_retrieval.model.rows import Matrix, Vector

ALICE = CacheScope("tenant_a", "tenant_a", "alice")


class Counting:
    """Notes what it is asked to embed."""

    is_quick = True

    def __init__(self, first: float) -> None:
        self.first = first
        self.asked: list[str] = []
        self.batches: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vector:
        self.asked.append(text)
        return np.array([self.first, len(text)], dtype=np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.batches.append(list(texts))
        return [np.array([self.first, len(text)], dtype=np.float32) for text in texts]


def models() -> tuple[Counting, Counting, EmbeddingModels]:
    one, two = Counting(1), Counting(2)
    return one, two, EmbeddingModels({"one": one, "two": two}, "one")


async def test_a_text_is_embedded_once_by_each_model() -> None:
    one, two, embeddings = models()
    for _ in range(3):
        assert (await embeddings.embed_query(ALICE, "one", "plans")).tolist() == [1, 5]
        assert (await embeddings.embed_query(ALICE, "two", "plans")).tolist() == [2, 5]
        assert (await embeddings.embed_query(ALICE, "one", "plan")).tolist() == [1, 4]
    assert (one.asked, two.asked) == (["plans", "plan"], ["plans"])
    assert (embeddings.lookups.hits, embeddings.lookups.misses) == (6, 3)


@pytest.mark.parametrize(
    "other",
    [
        CacheScope("tenant_b", "tenant_a", "alice"),
        CacheScope("tenant_a", "tenant_b", "alice"),
        CacheScope("tenant_a", "tenant_a", "bob"),
    ],
    ids=["in another tenant", "of another tenant", "another caller of the tenant"],
)
async def test_threat_10_what_one_caller_asked_is_no_sooner_answered_for_another(other: CacheScope) -> None:
    one, _, embeddings = models()
    await embeddings.embed_query(ALICE, "one", "merger")
    await embeddings.embed_query(other, "one", "merger")
    assert one.asked == ["merger", "merger"]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecsec_retrieval.model.embeddings._REMEMBERED_BYTES", 2_000)
    one, _, embeddings = models()
    for text in ("first", "second", "third", "fourth", "fourth", "first"):
        await embeddings.embed_query(ALICE, "one", text)
    assert one.asked == ["first", "second", "third", "fourth", "first"], "the first had to go"


async def test_a_remembered_vector_cannot_be_changed() -> None:
    _, _, embeddings = models()
    vector = await embeddings.embed_query(ALICE, "one", "plans")
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 7


async def test_what_cannot_be_embedded_is_refused_each_time() -> None:
    _, _, embeddings = models()
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await embeddings.embed_query(ALICE, "external", "plans")


async def test_what_a_batch_asks_for_is_embedded_in_one_call_and_only_what_is_missing() -> None:
    one, two, embeddings = models()
    await embeddings.embed_query(ALICE, "one", "known")
    await embeddings.embed_queries(ALICE, "one", ["known", "new", "newer", "new"])
    assert one.batches == [["new", "newer"]]
    for text in ("known", "new", "newer"):
        assert (await embeddings.embed_query(ALICE, "one", text)).tolist() == [1, len(text)]
    assert (one.asked, two.asked, two.batches) == (["known"], [], [])
    await embeddings.embed_queries(ALICE, "none", ["a", "b"])
    await embeddings.embed_queries(CacheScope("tenant_a", "tenant_a", "bob"), "one", ["new", "newer"])
    assert one.batches == [["new", "newer"]] * 2
