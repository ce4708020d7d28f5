"""What is made of a ranking."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from unit.retrieval.worlds import document

from vecsec_retrieval.model.rows import Document, ScoredDocument
from vecsec_retrieval.search.reader import SearchAnswer
from vecsec_retrieval.search.shaping import DEEPEST, Shape, shaped

MEBIBYTE = 1024 * 1024
PLAIN = document("plain")


class Ranking:
    """Rows in order, which notes how deep they were looked at."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.rows = [ScoredDocument(row(number, text), 1 - number / 10_000) for number, text in enumerate(texts)]
        self.depths: list[int] = []

    async def find(self, depth: int) -> SearchAnswer:
        self.depths.append(depth)
        return SearchAnswer(self.rows[:depth], "exact_scan")

    async def distinct(
        self, k: int, *, offset: int = 0, min_score: float | None = None, max_bytes: int = 16 * MEBIBYTE
    ) -> list[str]:
        found = await self.find(k + offset)
        shape = Shape(offset, min_score, distinct_texts=True)
        answer = await shaped(found, k, shape, find=self.find, max_bytes=max_bytes)
        return [each.document.document_id for each in answer.results]


def row(number: int, text: str) -> Document:
    return replace(PLAIN, document_id=f"d{number}", text=text, embedding=None)


async def test_copies_of_a_large_text_do_not_hide_the_others() -> None:
    ranking = Ranking([*["copy " * 40_000] * 100, *(f"other {number}" for number in range(20))])
    assert await ranking.distinct(5) == ["d0", "d100", "d101", "d102", "d103"]
    assert ranking.depths == [5, 20, 80, 320]
    assert await ranking.distinct(3, offset=2) == ["d101", "d102", "d103"]
    assert await ranking.distinct(5, min_score=ranking.rows[101].score) == ["d0", "d100", "d101"]


async def test_of_equal_texts_the_best_stays_and_others_come_for_the_rest_to_the_deepest() -> None:
    ranking = Ranking([f"text {number // 1_000}" for number in range(10_000)])
    assert await ranking.distinct(4) == ["d0", "d1000", "d2000", "d3000"]
    assert await ranking.distinct(5) == ["d0", "d1000", "d2000", "d3000"]
    assert max(ranking.depths) == DEEPEST


async def test_no_more_texts_are_read_than_eight_answers_hold() -> None:
    ranking = Ranking(["x" * 1_000] * 5_000)
    assert await ranking.distinct(2, max_bytes=10_000) == ["d0"]
    assert max(ranking.depths) == 80


async def test_the_loop_goes_on_while_large_texts_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[object] = []
    to_thread = asyncio.to_thread

    async def noted(function: object, *arguments: object) -> object:
        threads.append(function)
        return await to_thread(function, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", noted)
    assert await Ranking(["a", "b", "a"]).distinct(2) == ["d0", "d1"]
    assert not threads
    assert await Ranking(["a" * MEBIBYTE, "b", "a" * MEBIBYTE]).distinct(2) == ["d0", "d1"]
    assert threads
