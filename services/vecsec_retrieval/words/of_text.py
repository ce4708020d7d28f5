"""The words of documents."""

from collections.abc import Iterable, Iterator
from typing import Final

from vecsec_retrieval.words.compounds import SHORTEST_IN_DOCUMENTS
from vecsec_retrieval.words.languages import Language, language_of
from vecsec_retrieval.words.normalising import composed
from vecsec_retrieval.words.pieces import Piece, pieces_of, worded

_REMEMBERED: Final = 50_000
"""Pieces of texts that are made into words together, some 20 MiB: they mostly are the same ones."""
_LONGEST_REMEMBERED: Final = 40


def words_of_text(text: str, language: Language | None = None) -> list[str]:
    """The words of a document, its title and text one after the other: first the running ones in their order, by which
    phrases are found; then what else it is found by (identifiers as a whole, stems, beginnings and ends of what may be
    a compound), in order, too.

    Args:
        text: of any length and content; the time is linear in it.
        language: of the collection; else the text's own words tell, and English is what they are taken for at last.
    """
    return next(words_of_texts([text], language))


def words_of_texts(texts: Iterable[str], language: Language | None = None) -> Iterator[list[str]]:
    """`words_of_text` of each, one after the other as they are asked for, several times as fast: what was made of a
    piece of one text is remembered for the next.

    The texts belong to one tenant, so that how long it takes tells nobody of texts that another tenant has.
    """
    remembered: dict[Language, dict[str, Piece]] = {}
    return (_words(text, language, remembered) for text in texts)


def _words(text: str, language: Language | None, remembered: dict[Language, dict[str, Piece]]) -> list[str]:
    pieces = pieces_of(composed(text))
    spoken = language or language_of(pieces) or Language.ENGLISH
    known = remembered.setdefault(spoken, {})
    words: list[str] = []
    others: list[str] = []
    for each in pieces:
        piece = known.get(each)
        if piece is None:
            piece = worded(each, (spoken,), SHORTEST_IN_DOCUMENTS)
            if len(each) <= _LONGEST_REMEMBERED and len(known) < _REMEMBERED:
                known[each] = piece
        words += piece.running
        others += piece.others
        others += piece.singles
    words += others
    return words
