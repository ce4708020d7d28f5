"""What stands between two spaces, made into words."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from vecsec_retrieval.words.languages import Language
from vecsec_retrieval.words.normalising import without_accents
from vecsec_retrieval.words.splitting import CHUNK, split
from vecsec_retrieval.words.stemming import stem

_SHORTEST_STEMMED: Final = 3


class Piece(NamedTuple):
    """The words of a piece, folded and without accents."""

    running: tuple[str, ...]
    """In their order, as phrases have them."""
    wholes: tuple[str, ...]
    """Stems, and identifiers as a whole."""
    singles: tuple[str, ...]
    """Letters by themselves of words that run in pairs, as in Chinese: by them a query of one letter finds."""


def pieces_of(text: str) -> list[str]:
    """The pieces of a composed text, in order."""
    return text.split()


def worded(piece: str, languages: Sequence[Language]) -> Piece:
    """The words of a piece, stemmed in these languages."""
    running: list[str] = []
    wholes: list[str] = []
    singles: list[str] = []
    for found in CHUNK.findall(piece):
        chunk = split(found)
        wholes += map(without_accents, chunk.wholes)
        singles += chunk.singles
        for word in chunk.running:
            bare = without_accents(word)
            if not bare:  # an accent alone
                continue
            running.append(bare)
            if len(word) >= _SHORTEST_STEMMED and word.isalpha():
                wholes += _stems(word, bare, languages)
    return Piece(tuple(running), tuple(wholes), tuple(singles))


def _stems(word: str, bare: str, languages: Sequence[Language]) -> list[str]:
    """The stems that differ from the word itself, each once."""
    stems = dict.fromkeys(without_accents(stem(word, each)) for each in languages)
    return [each for each in stems if each and each != bare]
