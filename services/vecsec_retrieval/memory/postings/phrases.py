"""Phrases: words that have to stand side by side, in their order. Postings tell which rows have all the words, but not
where in a text they are; so texts are looked at, those with the highest scores first, and no more than are wanted."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.best_first import Identifiers
from vecsec_retrieval.memory.exact_scan import Mask
from vecsec_retrieval.memory.postings import bm25
from vecsec_retrieval.memory.postings.masked_rows import MaskedRows
from vecsec_retrieval.words import PhraseFinder

MOST_BYTES = 8 * 2**20
"""Of texts, that are looked at for one query: 0.1 s of ASCII, half a second of other Latin letters, 3 s of Chinese. The
last text is looked at as a whole."""
LEAST_BYTES = 256
"""What a text counts as at least: a short one takes as long."""
_FIRST_RANKED = 256
_DEEPER = 4


class LookedAt(NamedTuple):
    """A text in which phrases were looked for."""

    byte_count: int
    """Of its UTF-8."""
    has_all: bool


def look(text: str, phrases: PhraseFinder) -> LookedAt:
    """Look for phrases in a text."""
    byte_count = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return LookedAt(byte_count, phrases.are_in(text))


def with_phrases(
    rows: NDArray[np.int64],
    scores: NDArray[np.float64],
    count: int,
    identifiers: Identifiers,
    looked_at: Callable[[int], LookedAt],
) -> list[tuple[int, float]]:
    """The best rows that have all phrases, at most `count`, as far as `MOST_BYTES` go.

    Args:
        rows: those that have all words of the phrases, see `rows_having`.
        scores: of all rows, shape (rows of the collection,).
        looked_at: looks for the phrases in the text of a row.
    """
    found: list[tuple[int, float]] = []
    left = MOST_BYTES
    for row, score in _ranked(rows, scores, identifiers):
        text = looked_at(row)
        left -= max(text.byte_count, LEAST_BYTES)
        if text.has_all:
            found.append((row, score))
        if len(found) >= count or left <= 0:
            break
    return found


def _ranked(
    rows: NDArray[np.int64], scores: NDArray[np.float64], identifiers: Identifiers
) -> Iterator[tuple[int, float]]:
    """The rows, best first, put in order as they are asked for."""
    of_rows = np.zeros_like(scores)
    of_rows[rows] = scores[rows]
    done, depth = 0, _FIRST_RANKED
    while done < rows.size:
        ranked = bm25.best(of_rows, depth, identifiers)
        yield from ranked[done:]
        if len(ranked) < depth:
            return
        done, depth = depth, depth * _DEEPER


def rows_having(parts: Sequence[bm25.RowWords], mask: Mask, words: Sequence[str]) -> NDArray[np.int64]:
    """The masked rows that have all of the words, ascending; see `bm25.scores`."""
    found, first = [], 0
    for part in parts:
        own = mask[first : first + len(part.lengths)]
        if own.any():
            found.append(_having(part, own, words) + first)
        first += len(part.lengths)
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def _having(part: bm25.RowWords, mask: Mask, words: Sequence[str]) -> NDArray[np.int64]:
    masked = MaskedRows(mask)
    having = np.flatnonzero(mask)
    for word in words:
        having = np.intersect1d(having, part.seen(word, masked).rows, assume_unique=True)
    return having.astype(np.int64)
