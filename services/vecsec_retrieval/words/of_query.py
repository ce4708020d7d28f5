"""The words and phrases that a caller looks for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vecsec_retrieval.words.compounds import SHORTEST_IN_QUERIES
from vecsec_retrieval.words.languages import Language, language_of
from vecsec_retrieval.words.normalising import composed
from vecsec_retrieval.words.pieces import pieces_of, running_words, worded

_MOST_PHRASES: Final = 16
_LONGEST_PHRASE: Final = 64
"""In running words; what goes beyond is looked for word by word."""
_PERHAPS: Final = (Language.ENGLISH, Language.GERMAN, Language.FRENCH)
"""What a query may be in that says nothing of its language, as short ones do."""
_SHORT: Final = 64
"""In pieces: a longer one without any small word is no language, and stems would take three times as long."""

_QUOTE: Final = re.compile('["\u201c\u201d\u201e\u201f\u00ab\u00bb\u301d\u301e\u301f]')
"""Double quotes, typewritten, typeset or by the customs of other languages; NFKC has made those of full width plain."""


@dataclass(frozen=True)
class TextQuery:
    """What a search by words looks for. Both are empty where a query has no words at all, only signs."""

    words: tuple[str, ...]
    """Each once: a document's score is the sum of what its words among these are worth."""
    phrases: tuple[tuple[str, ...], ...]
    """What stood in double quotes: these running words one after the other, as `words_of_text` has them."""


def words_of_query(text: str, language: Language | None = None) -> TextQuery:
    """The words of what a caller typed.

    A quote that is never closed is no quote; of more than 16 phrases the rest is looked for word by word.

    Args:
        text: of any length and content; the time is linear in it.
        language: of the collection; else the query's own words tell. Where they do not, stems are those of the
            languages that it may be in.
    """
    readable = composed(text)
    pieces = pieces_of(readable)
    spoken = language or language_of(pieces)
    languages = (spoken,) if spoken else _PERHAPS if len(pieces) <= _SHORT else _PERHAPS[:1]
    made = [worded(piece, languages, SHORTEST_IN_QUERIES) for piece in dict.fromkeys(pieces)]
    words = dict.fromkeys(word for piece in made for word in piece.running)
    words |= dict.fromkeys(word for piece in made for word in piece.others)
    return TextQuery(tuple(words), tuple(dict.fromkeys(_phrases(readable))))


def _phrases(readable: str) -> Iterator[tuple[str, ...]]:
    parts = _QUOTE.split(readable, maxsplit=2 * _MOST_PHRASES)
    for quoted in parts[1 : len(parts) - 1 : 2]:
        words = tuple(word for piece in pieces_of(quoted) for word in running_words(piece))
        if 0 < len(words) <= _LONGEST_PHRASE:
            yield words
