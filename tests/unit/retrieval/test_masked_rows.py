"""Of a word, only where it is among masked rows, however these lie."""

import random

import numpy as np
import pytest

from vecsec_retrieval.memory.postings.later_postings import LaterPostings
from vecsec_retrieval.memory.postings.masked_rows import MOST_RUNS, MaskedRows
from vecsec_retrieval.memory.postings.occurrences import Occurrences
from vecsec_retrieval.memory.postings.word_counts import WordCounts


def masks(chance: random.Random) -> list[list[bool]]:
    """In few runs, by turns, all, none, one at either end."""
    by_turns = [bool(number % 2) for number in range(4 * MOST_RUNS)]
    runs = [False] * 20 + [True] * 30 + [False] * 40 + [True] * 10
    ends = [True, *[False] * 98, True]
    return [by_turns, runs, ends, [True] * 50, [False] * 50, [chance.random() < 0.9 for _ in range(200)]]


@pytest.mark.parametrize("seed", range(5))
def test_those_alone_are_looked_at_that_are_masked(seed: int) -> None:
    chance = random.Random(seed)
    for mask in masks(chance):
        later, expected = LaterPostings(), list[tuple[int, int]]()
        for row, is_masked in enumerate(mask):
            count = chance.choice([0, 0, 1, 3])
            later.add(WordCounts({"word": count} if count else {}, 9))
            if count and is_masked:
                expected.append((row, count))
        everything = later.of("word", len(mask))
        later.add(WordCounts({"word": 1}, 9))  # a row that came since
        masked = MaskedRows(np.array(mask, dtype=np.bool_))
        for found in (masked.among(everything), later.seen("word", masked)):
            assert list(zip(found.rows.tolist(), found.counts.tolist(), strict=True)) == expected


def test_of_what_is_hidden_no_row_is_looked_at() -> None:
    class Counted(np.ndarray):  # type: ignore[type-arg]
        looked_at = 0

        def __getitem__(self, place: object) -> object:
            found = super().__getitem__(place)
            Counted.looked_at += np.size(found)
            return found

    rows = np.arange(1, 9_999, dtype=np.int32).view(Counted)
    mask = np.zeros(10_000, dtype=np.bool_)
    mask[0] = mask[-1] = True
    found = MaskedRows(mask).among(Occurrences(rows, rows))
    assert found.rows.size == Counted.looked_at == 0
