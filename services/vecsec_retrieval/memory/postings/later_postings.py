"""The words of rows that came after the snapshot.

One writes at a time, and others read meanwhile from any thread: what is read was copied in one step of the interpreter.
"""

import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.postings.masked_rows import MaskedRows
from vecsec_retrieval.memory.postings.occurrences import NO_OCCURRENCES, Occurrences
from vecsec_retrieval.memory.postings.word_counts import WordCounts

_NO_ENTRIES = array("i")
_BYTES_OF_A_WORD = 200
"""Its place in the table, and its list; beside its letters (measured)."""


class LaterPostings:
    """Rows are numbered from 0, in the order in which they come."""

    def __init__(self) -> None:
        self._rows_and_counts: dict[str, array[int]] = {}
        """Of each word: a row, how often it is there, the next row, and so on."""
        self._lengths = array("i")
        self._entries = 0
        self._letters = 0

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def approximate_bytes(self) -> int:
        """Memory that it takes."""
        of_words = len(self._rows_and_counts) * _BYTES_OF_A_WORD + self._letters
        return of_words + 2 * self._lengths.itemsize * self._entries + self._lengths.itemsize * len(self._lengths)

    def add(self, words: WordCounts) -> None:
        """The next row has these words."""
        row = len(self._lengths)
        known = self._rows_and_counts
        for word, count in words.items():
            entries = known.get(word)
            if entries is None:
                entries = known[word] = array("i")
                self._letters += sys.getsizeof(word)
            entries.append(row)
            entries.append(count)  # who reads between the two leaves the row out
        self._lengths.append(words.length)
        self._entries += len(words.counts)

    def lengths(self, rows: int) -> NDArray[np.int32]:
        """How many words each of the first so many rows has."""
        return np.frombuffer(self._lengths[:rows], dtype=np.int32)

    def of(self, word: str, rows: int) -> Occurrences:
        """Where the word is among the first so many rows."""
        return _between(self._rows_and_counts.get(word, _NO_ENTRIES), 0, rows)

    def seen(self, word: str, rows: MaskedRows) -> Occurrences:
        """Where the word is among the masked rows. It takes the same steps for one that is nowhere, or hidden."""
        entries = self._rows_and_counts.get(word, _NO_ENTRIES)
        if rows.are_by_turns:
            return rows.among(_occurrences(entries))
        return rows.in_runs(partial(_between, entries))

    def words(self) -> list[str]:
        """All words, in the order of their UTF-8."""
        return sorted(self._rows_and_counts, key=str.encode)


def _between(entries: "array[int]", first: int, end: int) -> Occurrences:
    """Those from one row to the one before another."""
    pairs = range(len(entries) // 2)
    start = bisect_left(pairs, first, key=lambda pair: entries[2 * pair])
    stop = bisect_left(pairs, end, lo=start, key=lambda pair: entries[2 * pair])
    return _occurrences(entries[2 * start : 2 * stop]) if start < stop else NO_OCCURRENCES


def _occurrences(entries: "array[int]") -> Occurrences:
    copied = entries[:]
    pairs = np.frombuffer(copied[: len(copied) // 2 * 2], dtype=np.int32).reshape(-1, 2)
    return Occurrences(*np.ascontiguousarray(pairs.T))


@dataclass(frozen=True, slots=True)
class LaterWords:
    """The words of the first of these rows, as many as have lengths here, whatever comes later."""

    postings: LaterPostings
    lengths: NDArray[np.int32]
    """How many words each of them has."""

    def seen(self, word: str, rows: MaskedRows) -> Occurrences:
        """Where a word is among those of them that are masked."""
        return self.postings.seen(word, rows)
