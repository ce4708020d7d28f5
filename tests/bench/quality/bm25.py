"""BM25 as the books have it: what answers are compared with, and how weights are chosen."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class Bm25:
    """Words of passages, and how well passages fit to others."""

    def __init__(self, passages: Sequence[Sequence[str]]) -> None:
        self._lengths = np.array([len(words) for words in passages], dtype=np.float64)
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, words in enumerate(passages):
            for word, times in Counter(words).items():
                postings[word].append((number, times))
        self._postings = {word: np.array(each, dtype=np.int64).T for word, each in postings.items()}

    def scores(self, words: Iterable[str], *, saturation: float, normalisation: float) -> NDArray[np.float64]:
        """The score of each passage, 0 where it has none of the words."""
        rows = len(self._lengths)
        room = saturation * (1 - normalisation + normalisation * self._lengths / max(self._lengths.mean(), 1))
        scores = np.zeros(rows)
        for word in words:
            if word in self._postings:
                numbers, times = self._postings[word]
                rarity = math.log(1 + (rows - len(numbers) + 0.5) / (len(numbers) + 0.5))
                scores[numbers] += rarity * times * (saturation + 1) / (times + room[numbers])
        return scores


def plain_words(text: str) -> list[str]:
    """Words as the plainest BM25 has them: in lower case, cut at spaces."""
    return text.lower().split()


def best(scores: NDArray[np.float64], count: int) -> list[int]:
    """The numbers of the passages with the highest scores above 0, best first; equal ones in their order."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [int(number) for number in order if scores[number] > 0]
