"""What stands between two spaces, made into words."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from vecsec_retrieval.words.compounds import COMPOUNDING, beginnings_and_ends
from vecsec_retrieval.words.languages import Language
from vecsec_retrieval.words.normalising import without_accents
from vecsec_retrieval.words.splitting import CHUNK, split
from vecsec_retrieval.words.stemming import stem

_SHORTEST_STEMMED: Final = 3


class Piece(NamedTuple):
    """The words of a piece, folded and without accents."""

    running: tuple[str, ...]
    """In their order, as phrases have them."""
    others: tuple[str, ...]
    """Identifiers as a whole, stems, beginnings and ends."""
    singles: tuple[str, ...]
    """Letters by themselves of words that run in pairs, as in Chinese: by them a query of one letter finds."""


def pieces_of(text: str) -> list[str]:
    """The pieces of a composed text, in order."""
    return text.split()


def worded(piece: str, languages: Sequence[Language], shortest_compound: int) -> Piece:
    """The words of a piece in these languages; of words of so many letters or more, where compounds are written as one
    word, beginning and end."""
    running: list[str] = []
    others: list[str] = []
    singles: list[str] = []
    has_compounds = not COMPOUNDING.isdisjoint(languages)
    for found in CHUNK.findall(piece):
        chunk = split(found)
        others += map(without_accents, chunk.wholes)
        singles += chunk.singles
        for word in chunk.running:
            bare = without_accents(word)
            if not bare:  # an accent alone
                continue
            running.append(bare)
            stems = _stems(word, bare, languages)
            others += stems
            if has_compounds:
                others += dict.fromkeys(beginnings_and_ends((bare, *stems), shortest_compound))
    return Piece(tuple(running), tuple(others), tuple(singles))


def running_words(piece: str) -> list[str]:
    """The running words of a piece alone."""
    return [bare for found in CHUNK.findall(piece) for word in split(found).running if (bare := without_accents(word))]


def _stems(word: str, bare: str, languages: Sequence[Language]) -> list[str]:
    """The stems that differ from the word itself, each once."""
    if len(word) < _SHORTEST_STEMMED or not word.isalpha():
        return []
    stems = dict.fromkeys(without_accents(stem(word, each)) for each in languages)
    return [each for each in stems if each and each != bare]
