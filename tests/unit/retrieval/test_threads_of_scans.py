"""What takes long, or looks at texts, is done in a thread, and the rest at once."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from unit.retrieval.worlds import DIMENSIONS, document, eyes, permit, saved, upsert

from vecsec_retrieval.memory.index import CollectionIndex
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import AllOf, Equals, MetadataFilter, Not, TextContains
from vecsec_retrieval.model.rows import Vector
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.words import words_of_query

VECTOR = direction(np.ones(DIMENSIONS, dtype=np.float32))
MANY_WORDS = " ".join(f"w{number}x" for number in range(120))


@pytest.fixture(scope="module", params=["written", "saved"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CollectionIndex:
    made = CollectionIndex(DIMENSIONS)
    upsert(made, [document(str(number), metadata={"n": number}, text="open the file") for number in range(600)])
    folder: Path = tmp_path_factory.mktemp("rows")
    return made if request.param == "written" else saved(made, folder / "a.rows", mapped_from_bytes=2**30)


async def operations(index: CollectionIndex, orders: list[SearchOrder[Vector | None]]) -> list[str]:
    """What was done in threads: for each order alone, then for all together."""
    in_threads: list[str] = []
    with closing(StoreThreads(1, lambda operation, _seconds: in_threads.append(operation))) as threads:
        reader = MemoryReader(index, threads, AnswerCache(0))
        for order in orders:
            await reader.search(order, eyes(permit()))
        await reader.search_many(orders, eyes(permit()))
    return in_threads


@pytest.mark.parametrize(
    ("text", "vector", "metadata", "is_long"),
    [
        (None, VECTOR, None, False),
        (None, VECTOR, Equals("n", 1), False),
        ("file", None, None, False),
        ("open the file", VECTOR, None, False),
        ('"open file"', None, None, True),
        ('the "file"', VECTOR, Equals("n", 1), True),
        (MANY_WORDS, None, None, True),
        (None, VECTOR, TextContains("file"), True),
        ("file", None, AllOf((Equals("n", 1), Not(TextContains("file")))), True),
    ],
)
async def test_whether_others_would_wait(
    index: CollectionIndex, text: str | None, vector: Vector | None, metadata: MetadataFilter | None, is_long: bool
) -> None:
    order = SearchOrder(vector, 5, metadata, words=None if text is None else words_of_query(text))

    assert await operations(index, [order]) == (["scan", "scan"] if is_long else [])


async def test_words_of_a_batch_are_added_up(index: CollectionIndex) -> None:
    order: SearchOrder[Vector | None] = SearchOrder(None, 1, None, words=words_of_query("open the file"))

    assert await operations(index, [order] * 20) == ["scan"]


async def test_one_phrase_makes_a_batch_long(index: CollectionIndex) -> None:
    plain: SearchOrder[Vector | None] = SearchOrder(VECTOR, 1, None)
    phrase: SearchOrder[Vector | None] = SearchOrder(VECTOR, 1, None, words=words_of_query('"open the"'))

    assert await operations(index, [plain, phrase]) == ["scan", "scan"], "alone, and both together"
