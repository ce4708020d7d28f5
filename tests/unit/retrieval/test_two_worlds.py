"""Two worlds with the same visible rows, and other hidden ones: every answer is the same, to the bit (threat 29).

The rows come in another order and at other times, with hidden ones between them; they are replaced, relabelled and
deleted; snapshots are made, mapped into memory or not, at other moments.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from unit.retrieval.worlds import DIMENSIONS, delete, document, eyes, label, metrics, saved, up_to, upsert

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import Equals
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.words import words_of_query

WORLDS = 40
QUERIES = 24
WORDS = (
    *("vector", "index", "search", "grant", "label", "policy", "Türschloss", "schloss", "AB-1234/7", "useState", "the"),
    *("--no-verify", "E0382", "running", "runs", "ran", "日本語", "naïve", "of", "and", "a", "rows", "row", "hidden"),
    *("visible", "key", "keys", "open", "file", "files", "closing", "42", "v1.2"),
)
SECRET = label(Sensitivity.SECRET)
VISIBLE = (label(), label(topics=("a", "b")), label(Sensitivity.INTERNAL))
SEEN = up_to(Sensitivity.INTERNAL)


@dataclass(frozen=True)
class World:
    """What is to be there in the end, and how it comes."""

    chance: random.Random
    folder: Path

    def index(self, visible: Sequence[Document], hidden: Sequence[Document]) -> CollectionIndex:
        """An index that has all of these rows, and had others."""
        index = CollectionIndex(DIMENSIONS)
        rows = [*visible, *hidden]
        self.chance.shuffle(rows)
        before = [self._before(row) for row in rows if self.chance.random() < 0.3]
        upsert_in_batches(index, before, self.chance)
        index = self._perhaps_saved(index)
        relabelled = [row for row in before if row.label not in VISIBLE]
        if relabelled:
            index.apply(IndexChange(index.position + 1, relabelled=[(row.document_id, SECRET) for row in relabelled]))
        gone = [document(f"gone-{number}", text=some_text(self.chance), of=SECRET) for number in range(5)]
        for start in range(0, len(rows), 20):
            upsert(index, [*rows[start : start + 20], *gone[start // 20 : start // 20 + 1]])
            index = self._perhaps_saved(index)
        delete(index, [row.document_id for row in gone])
        return self._perhaps_saved(index)

    def _before(self, row: Document) -> Document:
        """What was under the same id before: other words, another label, another vector."""
        was = self.chance.choice((*VISIBLE, SECRET))
        return replace(row, text=some_text(self.chance), label=was, embedding=some_vector(self.chance))

    def _perhaps_saved(self, index: CollectionIndex) -> CollectionIndex:
        if self.chance.random() < 0.6:
            return index
        path = self.folder / f"{self.chance.getrandbits(64):x}.rows"
        return saved(index, path, mapped_from_bytes=self.chance.choice((0, 2**30)))


def upsert_in_batches(index: CollectionIndex, rows: Sequence[Document], chance: random.Random) -> None:
    start = 0
    while start < len(rows):
        end = start + chance.randint(1, 9)
        upsert(index, rows[start:end])
        start = end


def some_text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.choice((1, 3, 8, 40))))


def some_vector(chance: random.Random) -> np.ndarray:
    return np.array([chance.gauss(0, 1) for _ in range(DIMENSIONS)], dtype=np.float32)


def some_rows(chance: random.Random, name: str, count: int, labels: Sequence[object]) -> list[Document]:
    # Some texts and vectors are there twice, so that ties have to be broken.
    texts = [some_text(chance) for _ in range(1 + count // 2)]
    vectors = [some_vector(chance) for _ in range(1 + count // 2)]
    return [
        document(
            f"{name}-{chance.getrandbits(32):x}",
            chance.choice(vectors),
            chance.choice(labels),  # type: ignore[arg-type]
            {"n": chance.randint(0, 2)},
            chance.choice(texts),
        )
        for _ in range(count)
    ]


def orders(chance: random.Random) -> Iterator[SearchOrder[np.ndarray | None]]:
    for _ in range(QUERIES):
        vector = direction(some_vector(chance))
        text = some_text(chance)
        if chance.random() < 0.3:
            text = f'"{" ".join(chance.choices(WORDS, k=2))}" {text}'
        k = chance.choice((1, 3, 10, 200))
        condition = chance.choice((None, None, Equals("n", chance.randint(0, 3))))
        words = words_of_query(text)
        yield SearchOrder(vector, k, condition)
        yield SearchOrder(None, k, condition, words=words)
        yield SearchOrder(vector, k, condition, words=words)


def everything(answer: SearchAnswer) -> list[object]:
    """All that a caller gets of it; `repr` of numbers tells every bit."""
    rows = [(each.document.document_id, repr(each.score), repr(each.parts), each.document) for each in answer.results]
    return [answer.mode, answer.strategy, [(*row[:3], row[3].text, row[3].label, row[3].metadata) for row in rows]]


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_threat_29_rows_that_a_caller_does_not_see_change_no_bit_of_an_answer(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    visible = some_rows(chance, "seen", chance.choice((0, 1, 5, 60, 150)), VISIBLE)
    without = some_rows(chance, "hidden", chance.choice((0, 3)), [SECRET])
    with_many = some_rows(chance, "hidden", chance.choice((40, 300)), [SECRET])
    one = World(random.Random(seed + 10_000), tmp_path).index(visible, without)
    other = World(random.Random(seed + 20_000), tmp_path).index(visible, with_many)
    sees, answers = eyes(SEEN), AnswerCache(0)
    with closing(StoreThreads(1, metrics().record_store_call)) as threads:
        here, there = MemoryReader(one, threads, answers), MemoryReader(other, threads, answers)
        found = 0
        for order in orders(chance):
            mine, others = await here.search(order, sees), await there.search(order, sees)
            assert everything(mine) == everything(others), order
            found += len(mine.results)
    assert found or not visible
