"""BM25 among those rows that a mask leaves, and as if there were no others.

How many rows there are, how long they are on average and in how many a word is: all of it is counted under the mask.
Rows outside of it change no bit of a score. The words come in one order and each operation is one of IEEE 754 on 64
bits, so that a row's score depends neither on where it lies nor on what lies beside it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.postings.occurrences import Occurrences
from vecsec_retrieval.words.weights import LENGTH_NORMALISATION, SATURATION

MOST_WORDS = 128
"""Of one query, the first ones: more take time and tell nothing apart."""


class RowWords(Protocol):
    """The words of some rows, numbered from 0."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """How many words each row has."""
        ...

    def of(self, word: str) -> Occurrences:
        """Where a word is; all of the rows that `lengths` has, and none beyond."""
        ...


def looked_for(words: Sequence[str]) -> dict[str, int]:
    """The words that count of a query, and how often each was typed, in the order in which their scores are summed."""
    first = dict.fromkeys(words)
    kept = set(list(first)[:MOST_WORDS])
    return dict(sorted(Counter(word for word in words if word in kept).items()))


def scores(parts: Sequence[RowWords], mask: Mask, words: Sequence[str]) -> NDArray[np.float64]:
    """Each row's score, of shape (rows,): above 0 where a masked row has one of the words, else 0. The parts' rows are
    numbered on from part to part."""
    found = np.zeros(len(mask))
    masks, into, start = [], [], 0
    for part in parts:
        end = start + len(part.lengths)
        masks.append(mask[start:end])
        into.append(found[start:end])
        start = end
    rows = int(np.count_nonzero(mask))
    total = sum(int(part.lengths[own].sum(dtype=np.int64)) for part, own in zip(parts, masks, strict=True))
    if not total:
        return found
    for word, times in looked_for(words).items():
        places = [part.of(word).among(own) for part, own in zip(parts, masks, strict=True)]
        holding = sum(place.rows.size for place in places)
        weight = times * math.log1p((rows - holding + 0.5) / (holding + 0.5)) * (SATURATION + 1)
        for part, place, of_part in zip(parts, places, into, strict=True):
            of_part[place.rows] += weight * _saturated(place, part.lengths, total / rows)
    return found


def _saturated(place: Occurrences, lengths: NDArray[np.int32], mean_length: float) -> NDArray[np.float64]:
    """How much the word counts in each row, from 0 to 1."""
    counts = place.counts.astype(np.float64)
    relative = lengths[place.rows] / mean_length
    saturated: NDArray[np.float64] = counts / (
        counts + SATURATION * (1 - LENGTH_NORMALISATION + LENGTH_NORMALISATION * relative)
    )
    return saturated


def best(
    scored: NDArray[np.float64], count: int, identifiers: Callable[[Sequence[int]], Iterable[str]]
) -> list[tuple[int, float]]:
    """The rows with the highest scores above 0, best first; equal scores in the order of the rows' identifiers."""
    (rows,) = scored.nonzero()
    if rows.size > count:
        of_rows = scored[rows]
        rows = rows[of_rows >= np.partition(of_rows, rows.size - count)[rows.size - count]]
    numbers = rows.tolist()
    ranked = sorted(zip((-scored[rows]).tolist(), identifiers(numbers), numbers, strict=True))
    return [(row, -negative) for negative, _, row in ranked[:count]]
