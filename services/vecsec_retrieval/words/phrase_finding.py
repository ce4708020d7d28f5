"""Whether a text has phrases: words that stand side by side, in their order."""

import re
from collections.abc import Sequence
from typing import Final

from vecsec_retrieval.words.normalising import composed
from vecsec_retrieval.words.pieces import pieces_of, running_words
from vecsec_retrieval.words.splitting import LONGEST_WORD

_REMEMBERED: Final = 50_000
"""Pieces of texts, some 20 MiB: they mostly are the same ones."""
_LONGEST_REMEMBERED: Final = 40
_PIECES_AT_ONCE: Final = 10_000
"""Are put together without other threads' having their turn."""


class PhraseFinder:
    """Looks for the phrases of one query in texts of one tenant: what is remembered from text to text tells nobody of
    texts that another tenant has."""

    def __init__(self, phrases: Sequence[tuple[str, ...]]) -> None:
        """`phrases` as `TextQuery` has them."""
        self.words = frozenset(word for phrase in phrases for word in phrase)
        """All words of the phrases: those of the rows that may have them."""
        self._phrases = [_joined(phrase) for phrase in phrases]
        self._in_ascii = [_pattern(phrase) for phrase in phrases]
        self._words_of = _RunningWords()

    def are_in(self, text: str) -> bool:
        """Whether the text has all of them; the time is linear in its length."""
        if text.isascii():
            lowered = text.lower()
            if not all(pattern.search(lowered) for pattern in self._in_ascii):
                return False
        running = self._running(text)
        return all(phrase in running for phrase in self._phrases)

    def _running(self, text: str) -> str:
        """The text's running words, between single spaces."""
        pieces = pieces_of(composed(text))
        starts = range(0, len(pieces), _PIECES_AT_ONCE)
        found = (map(self._words_of.__getitem__, pieces[start : start + _PIECES_AT_ONCE]) for start in starts)
        return _joined([" ".join(filter(None, words)) for words in found])


class _RunningWords(dict[str, str]):
    """Those of pieces, between spaces; made when they are asked for first."""

    def __missing__(self, piece: str) -> str:
        words = " ".join(running_words(piece))
        if len(piece) <= _LONGEST_REMEMBERED and len(self) < _REMEMBERED:
            self[piece] = words
        return words


def _joined(words: Sequence[str]) -> str:
    return f" {' '.join(filter(None, words))} "


def _pattern(phrase: Sequence[str]) -> re.Pattern[str]:
    """What an ASCII text with the phrase has in small letters, and few others: signs or nothing between the words.
    A text is searched for it fifty times as fast as it is split into words."""
    parts = [re.escape(word) + ("[a-z0-9]*+" if len(word) >= LONGEST_WORD else "") for word in phrase]
    return re.compile("[^a-z0-9]*+".join(parts))
