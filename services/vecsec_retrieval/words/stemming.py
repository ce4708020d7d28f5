"""What is left of a word without its endings, by Snowball's stemmers.

Nothing is remembered from text to text: how long a word takes must not tell whether another tenant has it.
"""

import threading
from typing import Final

import Stemmer

from vecsec_retrieval.words.languages import Language

_ALGORITHMS: Final = {
    Language.DANISH: "danish",
    Language.DUTCH: "dutch",
    Language.ENGLISH: "english",
    Language.FINNISH: "finnish",
    Language.FRENCH: "french",
    Language.GERMAN: "german",
    Language.ITALIAN: "italian",
    Language.NORWEGIAN: "norwegian",
    Language.PORTUGUESE: "portuguese",
    Language.SPANISH: "spanish",
    Language.SWEDISH: "swedish",
}
_BY_LETTERS: Final = (
    (range(0x0370, 0x0400), "greek"),
    (range(0x0400, 0x0530), "russian"),
    (range(0x0530, 0x0590), "armenian"),
    (range(0x0600, 0x0700), "arabic"),
    (range(0x0900, 0x0980), "hindi"),
    (range(0x0B80, 0x0C00), "tamil"),
    (range(0x1F00, 0x2000), "greek"),
)


class _Stemmers(threading.local):
    """A stemmer has a buffer of its own, and so belongs to one thread."""

    def __init__(self) -> None:
        self.by_algorithm: dict[str, Stemmer.Stemmer] = {}


_STEMMERS: Final = _Stemmers()


def stem(word: str, language: Language) -> str:
    """The stem of a folded word with its accents: in this language if its letters are Latin, else in theirs."""
    algorithm = _ALGORITHMS[language] if word.isascii() or ord(word[0]) < 0x0370 else _by_letters(ord(word[0]))
    if algorithm is None:
        return word
    stemmer = _STEMMERS.by_algorithm.get(algorithm)
    if stemmer is None:
        stemmer = _STEMMERS.by_algorithm[algorithm] = Stemmer.Stemmer(algorithm, 0)
    stemmed: str = stemmer.stemWord(word)
    return stemmed


def _by_letters(code: int) -> str | None:
    for letters, algorithm in _BY_LETTERS:
        if code in letters:
            return algorithm
    return _ALGORITHMS[Language.ENGLISH] if 0x1E00 <= code < 0x1F00 else None
