"""The words of a row's text, counted."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.words import words_of_texts

MOST_COUNTED = 255
"""Beyond so many times that a word is in a text, more say nothing: of a score it would be less than a hundredth. One
byte holds it."""


class WordCounts:
    """How often each word is in a text, `MOST_COUNTED` at most, and how many words it has altogether.

    What is kept is one string and its numbers: a batch may have millions of words, and each takes 150 bytes by itself.
    """

    __slots__ = ("_words", "counts", "length")

    def __init__(self, counts: Mapping[str, int], length: int) -> None:
        """`counts` by words, in which is no white space; `length` is how many words there are with repetitions."""
        self._words = "\n".join(counts)
        self.counts = bytes(min(count, MOST_COUNTED) for count in counts.values())
        """How often each of the words is there."""
        self.length = length

    def words(self) -> list[str]:
        """The different words."""
        return self._words.split("\n") if self._words else []

    def items(self) -> Iterator[tuple[str, int]]:
        """Each word, and how often it is there."""
        return zip(self.words(), self.counts, strict=True)


def counted_words(documents: Sequence[Document]) -> list[WordCounts]:
    """The words of each document, of one tenant; a thousand take longer than others should wait. In memory as such are
    those of one text at a time."""
    texts = words_of_texts(document.text for document in documents)
    return [WordCounts(Counter(words), len(words)) for words in texts]
