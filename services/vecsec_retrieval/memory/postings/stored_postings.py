"""The words of a snapshot's rows, as they lie in its file.

The words are in the order of their UTF-8, one after the other; of each, the rows that have it ascend. Nothing is taken
into the heap, so that a mapped file costs the memory that searches read of it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.postings.masked_rows import MaskedRows
from vecsec_retrieval.memory.postings.occurrences import Occurrences

SECTIONS = ("words", "word_ends", "posting_ends", "posting_rows", "posting_counts", "word_counts")
"""Of a snapshot's file: the words; where each begins and the last one ends; where its rows begin and the last one's
end; these rows; how often each has the word; how many words each row has altogether."""
_POSTINGS_A_BLOCK = 1_000_000


class StoredPostings:
    """The sections of a file, as words and rows."""

    def __init__(self, parts: Mapping[str, memoryview], rows: int) -> None:
        """Of a snapshot of so many rows.

        Raises:
            ValueError: if the sections do not fit one another.
        """
        self._words = parts["words"]
        word_ends = np.frombuffer(parts["word_ends"], dtype=np.int64)
        self._posting_ends = np.frombuffer(parts["posting_ends"], dtype=np.int64)
        self._rows = np.frombuffer(parts["posting_rows"], dtype=np.int32)
        self._counts = np.frombuffer(parts["posting_counts"], dtype=np.uint8)
        self.lengths = np.frombuffer(parts["word_counts"], dtype=np.int32)
        ends_fit = len(word_ends) == len(self._posting_ends) and self._posting_ends[-1] == len(self._rows)
        if not ends_fit or len(self._counts) != len(self._rows) or len(self.lengths) != rows:
            raise ValueError("its words do not fit its rows")
        self._word_ends = word_ends.data

    def __len__(self) -> int:
        """How many words there are."""
        return len(self._posting_ends) - 1

    def word(self, number: int) -> bytes:
        """One of the words, in UTF-8."""
        return bytes(self._words[self._word_ends[number] : self._word_ends[number + 1]])

    def of(self, word: str) -> Occurrences:
        """Where a word is. It takes the same steps for one that is nowhere."""
        encoded = word.encode()
        number = bisect_left(range(len(self)), encoded, key=self.word)
        is_known = number < len(self) and self.word(number) == encoded
        place = slice(*self._posting_ends[number : number + 2].tolist()) if is_known else slice(0, 0)
        return Occurrences(self._rows[place], self._counts[place])

    def seen(self, word: str, rows: MaskedRows) -> Occurrences:
        """Where a word is among the masked rows."""
        return rows.among(self.of(word))

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], Occurrences]]:
        """All of it: numbers of words, and where each is, about a million at a time."""
        first, ends = 0, self._posting_ends
        while first < len(self):
            last = max(first + 1, int(ends.searchsorted(ends[first] + _POSTINGS_A_BLOCK, side="right")) - 1)
            place = slice(int(ends[first]), int(ends[last]))
            numbers = np.repeat(np.arange(first, last), np.diff(ends[first : last + 1]))
            yield numbers, Occurrences(self._rows[place], self._counts[place])
            first = last
