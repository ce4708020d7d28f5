"""Puts the words of a snapshot's rows in order, for its file.

What is added lies in files without a name, not in memory: there are some 60 entries a row. They are sorted by counting:
how many entries each word has says where they go.
"""

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsec_retrieval.memory.postings.later_postings import LaterPostings
from vecsec_retrieval.memory.postings.occurrences import Occurrences
from vecsec_retrieval.memory.postings.stored_postings import StoredPostings
from vecsec_retrieval.memory.postings.word_counts import WordCounts

_ENTRY = np.dtype([("word", np.int32), ("row", np.int32), ("count", np.uint8)])
_ENTRIES_A_BLOCK = 500_000
_BYTES_WRITTEN_AT_ONCE = 1024 * 1024
_GONE = -1


class PostingsWriter:
    """Used by one thread. Words get numbers in the order in which they come, and are sorted at last.

    Raises:
        OSError: if there is no room, in any method.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number_of: dict[bytes, int] = {}
        self._entries = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._entry_count = 0
        self._lengths: list[NDArray[np.int32]] = []

    def close(self) -> None:
        """Let go of what was added."""
        self._entries.close()

    def add_rows(self, first_row: int, rows: Sequence[WordCounts]) -> None:
        """The next rows, from this number on, have these words."""
        counts = np.frombuffer(b"".join(row.counts for row in rows), dtype=np.uint8)
        numbers = np.repeat(np.arange(first_row, first_row + len(rows)), [len(row.counts) for row in rows])
        words = (self._number(word.encode()) for row in rows for word in row.words())
        self._add(np.fromiter(words, dtype=np.int32, count=len(counts)), numbers, counts)
        self._lengths.append(np.array([row.length for row in rows], dtype=np.int32))

    def add_stored(self, stored: StoredPostings, new_rows: NDArray[np.int32]) -> None:
        """Rows of another snapshot have the numbers of `new_rows` now, or none: -1."""
        own = np.array([self._number(stored.word(number)) for number in range(len(stored))], dtype=np.int32)
        for words, found in stored.blocks():
            rows = new_rows[found.rows]
            stays = rows != _GONE
            self._add(own[words[stays]], rows[stays], found.counts[stays])

    def add_later(self, later: LaterPostings, new_rows: NDArray[np.int32]) -> None:
        """The same of rows that came after it."""
        found: list[tuple[int, Occurrences]] = []
        size = 0
        for word in later.words():
            found.append((self._number(word.encode()), later.of(word, len(new_rows))))
            size += found[-1][1].rows.size
            if size > _ENTRIES_A_BLOCK:
                self._add_found(found, new_rows)
                found, size = [], 0
        self._add_found(found, new_rows)

    def set_lengths(self, lengths: NDArray[np.int32]) -> None:
        """How many words all rows have, where they were not added one after the other."""
        self._lengths = [lengths]

    def sections(self) -> Iterator[tuple[str, bytes]]:
        """What goes into the file, section by section, some of it in parts."""
        words = sorted(self._number_of)
        order = np.array([self._number_of[word] for word in words], dtype=np.int64)
        place_of = np.empty(len(words), dtype=np.int64)
        place_of[order] = np.arange(len(words))
        self._number_of.clear()  # the largest thing here
        yield "words", b"".join(words)
        yield "word_ends", _ends(np.fromiter(map(len, words), dtype=np.int64, count=len(words))).tobytes()
        del words
        ends = _ends(self._entries_of_words(place_of))
        yield "posting_ends", ends.tobytes()
        with _Scratch(self._folder, self._entry_count * 5) as scratch:
            rows = scratch.array(0, self._entry_count, np.int32)
            counts = scratch.array(self._entry_count * 4, self._entry_count, np.uint8)
            self._put_in_place(place_of, ends[:-1].copy(), rows, counts)
            _sort_within_words(ends, rows, counts)
            for name, column in (("posting_rows", rows), ("posting_counts", counts)):
                yield name, b""
                for start in range(0, len(column), _ENTRIES_A_BLOCK):
                    yield name, column[start : start + _ENTRIES_A_BLOCK].tobytes()
            del rows, counts, column
        yield "word_counts", np.concatenate(self._lengths).tobytes() if self._lengths else b""

    def _number(self, word: bytes) -> int:
        return self._number_of.setdefault(word, len(self._number_of))

    def _add_found(self, found: Sequence[tuple[int, Occurrences]], new_rows: NDArray[np.int32]) -> None:
        if found:
            rows = new_rows[np.concatenate([each.rows for _, each in found])]
            words = np.repeat([word for word, _ in found], [each.rows.size for _, each in found])
            counts = np.concatenate([each.counts for _, each in found])
            stays = rows != _GONE
            self._add(words[stays], rows[stays], counts[stays])

    def _add(self, words: Any, rows: NDArray[Any], counts: Any) -> None:
        entries = np.empty(len(rows), dtype=_ENTRY)
        entries["word"], entries["row"], entries["count"] = words, rows, counts
        self._entries.write(entries.tobytes())
        self._entry_count += len(entries)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        self._entries.seek(0)
        while block := self._entries.read(_ENTRIES_A_BLOCK * _ENTRY.itemsize):
            yield np.frombuffer(block, dtype=_ENTRY)

    def _entries_of_words(self, place_of: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.zeros(len(place_of), dtype=np.int64)
        for block in self._blocks():
            found += np.bincount(place_of[block["word"]], minlength=len(place_of))
        return found

    def _put_in_place(
        self,
        place_of: NDArray[np.int64],
        next_of: NDArray[np.int64],
        rows: NDArray[np.int32],
        counts: NDArray[np.uint8],
    ) -> None:
        """`next_of` says where the next entry of each word goes."""
        for block in self._blocks():
            words = place_of[block["word"]]
            order = np.argsort(words, kind="stable")
            words = words[order]
            of_words, first, sizes = np.unique(words, return_index=True, return_counts=True)
            targets = next_of[words] + np.arange(len(words)) - np.repeat(first, sizes)
            rows[targets], counts[targets] = block["row"][order], block["count"][order]
            next_of[of_words] += sizes


def _sort_within_words(ends: NDArray[np.int64], rows: NDArray[np.int32], counts: NDArray[np.uint8]) -> None:
    """Let the rows of each word ascend, as they do where they came one after the other."""
    first, words = 0, len(ends) - 1
    while first < words:
        last = max(first + 1, int(ends.searchsorted(ends[first] + _ENTRIES_A_BLOCK, side="right")) - 1)
        place = slice(int(ends[first]), int(ends[last]))
        numbers = np.repeat(np.arange(first, last), np.diff(ends[first : last + 1]))
        keys = (numbers << 32) | rows[place]
        if np.any(keys[1:] < keys[:-1]):
            order = np.argsort(keys)
            rows[place], counts[place] = rows[place][order], counts[place][order]
        first = last


def _ends(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


class _Scratch:
    """A file without a name that is mapped into memory: the kernel writes it out where it needs the room."""

    def __init__(self, folder: Path, size: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the block
        # Written, for a hole that is mapped ends the process where there is no room to fill it.
        for start in range(0, max(1, size), _BYTES_WRITTEN_AT_ONCE):
            self._file.write(bytes(min(_BYTES_WRITTEN_AT_ONCE, max(1, size) - start)))
        self._file.flush()
        self._mapped = mmap.mmap(self._file.fileno(), max(1, size))

    def __enter__(self) -> "_Scratch":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def array(self, start: int, count: int, kind: Any) -> NDArray[Any]:
        return np.frombuffer(self._mapped, dtype=kind, count=count, offset=start)
