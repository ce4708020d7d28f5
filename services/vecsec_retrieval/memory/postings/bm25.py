"""BM25 among those rows that a mask leaves, and as if there were no others.

How many rows there are, how long they are on average and in how many a word is: all of it is counted under the mask.
Rows outside of it change no bit of a score. The words come in one order and each operation is one of IEEE 754 on 64
bits, so that a row's score depends neither on where it lies nor on what lies beside it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.best_first import Identifiers, best_first
from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.postings.masked_rows import MaskedRows
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

    def seen(self, word: str, rows: MaskedRows) -> Occurrences:
        """Where a word is among the masked rows, of as many as `lengths` has."""
        ...


def looked_for(words: Sequence[str]) -> dict[str, int]:
    """The words that count of a query, and how often each was typed, in the order in which their scores are summed."""
    first = dict.fromkeys(words)
    kept = set(list(first)[:MOST_WORDS])
    return dict(sorted(Counter(word for word in words if word in kept).items()))


def scores(parts: Sequence[RowWords], mask: Mask, words: Sequence[str]) -> NDArray[np.float64]:
    """Each row's score, of shape (rows,): above 0 where a masked row has one of the words, else 0. The parts' rows are
    numbered on from part to part."""
    wanted = looked_for(words)
    found, first, total = [], 0, 0
    for part in parts:
        end = first + len(part.lengths)
        own = mask[first:end]
        if wanted and own.any():
            found.append(_seen(part, MaskedRows(own), list(wanted), first))
            total += int(part.lengths[own].sum(dtype=np.int64))
        first = end
    if not total:
        return np.zeros(len(mask))
    words_of, rows, counts, lengths = (np.concatenate(column) for column in zip(*found, strict=True))
    holding = np.bincount(words_of, minlength=len(wanted))
    row_count = int(np.count_nonzero(mask))
    weights = np.array([_weight(row_count, of) * times for of, times in zip(holding, wanted.values(), strict=True)])
    relative = lengths / (total / row_count)
    shares = counts / (counts + SATURATION * (1 - LENGTH_NORMALISATION + LENGTH_NORMALISATION * relative))
    # One after the other as they stand here, so that a row's words are summed in their order.
    summed = np.bincount(rows, weights[words_of] * shares, minlength=len(mask))
    return summed.astype(np.float64, copy=False)  # of nothing it makes whole numbers


def _seen(part: RowWords, masked: MaskedRows, words: Sequence[str], first_row: int) -> tuple[NDArray[Any], ...]:
    """Of all places where one of the words is in a masked row: the word's number, the row, how often it is there, and
    how many words the row has."""
    places = [part.seen(word, masked) for word in words]
    rows = np.concatenate([place.rows for place in places])
    words_of = np.repeat(np.arange(len(words)), [place.rows.size for place in places])
    counts = np.concatenate([place.counts for place in places])
    return words_of, rows.astype(np.int64) + first_row, counts.astype(np.float64), part.lengths[rows]


def _weight(row_count: int, holding: int) -> float:
    """What a word is worth that so many of the rows have."""
    return math.log1p((row_count - int(holding) + 0.5) / (int(holding) + 0.5)) * (SATURATION + 1)


def best(scored: NDArray[np.float64], count: int, identifiers: Identifiers) -> list[tuple[int, float]]:
    """The rows with the highest scores above 0, best first; equal scores in the order of the rows' identifiers."""
    (rows,) = scored.nonzero()
    of_rows = scored[rows]
    if rows.size > count:
        stays = of_rows >= np.partition(of_rows, rows.size - count)[rows.size - count]
        rows, of_rows = rows[stays], of_rows[stays]
    places = best_first(rows, of_rows, count, identifiers)
    return list(zip(rows[places].tolist(), of_rows[places].tolist(), strict=True))
