"""The words of a row's text, counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.words import words_of_texts

MOST_COUNTED = 255
"""Beyond so many times that a word is in a text, more say nothing: of a score it would be less than a hundredth. One
byte holds it."""


@dataclass(frozen=True, slots=True)
class WordCounts:
    """How often each word is in a text, `MOST_COUNTED` at most, and how many words it has altogether."""

    counts: Mapping[str, int]
    length: int


def counted_words(documents: Sequence[Document]) -> list[WordCounts]:
    """The words of each document, of one tenant; a thousand take longer than others should wait."""
    return [_counted(words) for words in words_of_texts([document.text for document in documents])]


def _counted(words: Sequence[str]) -> WordCounts:
    counts = Counter(words)
    if len(words) > MOST_COUNTED:
        counts = Counter({word: min(count, MOST_COUNTED) for word, count in counts.items()})
    return WordCounts(counts, len(words))
