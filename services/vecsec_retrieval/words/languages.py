"""The language of a text, found from that text alone."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Language(StrEnum):
    """Languages of Latin letters whose words are stemmed. Those of other letters are known by their letters."""

    DANISH = "da"
    DUTCH = "nl"
    ENGLISH = "en"
    FINNISH = "fi"
    FRENCH = "fr"
    GERMAN = "de"
    ITALIAN = "it"
    NORWEGIAN = "no"
    PORTUGUESE = "pt"
    SPANISH = "es"
    SWEDISH = "sv"


_SMALL_WORDS: Final = {
    Language.DANISH: "og er ikke jeg det af til hvordan hvad blev være også efter eller der kan skal hvis mellem",
    Language.DUTCH: "het een van niet dat zijn voor met aan ook maar wordt hoe wat waar naar bij kan moet deze",
    Language.ENGLISH: "the of and to is that it for with how what which this are be when from can not does by as",
    Language.FINNISH: "ja on ei se että oli mutta kun miten mikä joka sekä ovat myös tai jos kuin voi",
    Language.FRENCH: "le la les des et une dans pour que qui est pas sur avec comment quel quelle ce du au sont l d",
    Language.GERMAN: "der die das und ist nicht ein eine einen den dem des zu mit für von wie was wird werden auf wenn",
    Language.ITALIAN: "il di che e per una non con sono come del della dei gli nel si più quale perché lo",
    Language.NORWEGIAN: "og er ikke jeg det av til hvordan hva ble være også etter eller som kan skal hvis mellom",
    Language.PORTUGUESE: "o os de que e do da em um uma para com não por como mais dos são ao quando",
    Language.SPANISH: "el los las de que y en un una por con no para como del se es qué cómo cuando al",
    Language.SWEDISH: "och är inte jag det av till hur vad blev vara också efter eller som kan ska om mellan ett",
}
_SPEAKS_FOR: Final = {
    word: tuple(language for language, words in _SMALL_WORDS.items() if word in words.split())
    for words in _SMALL_WORDS.values()
    for word in words.split()
}
_FIRST: Final = (Language.ENGLISH, Language.GERMAN, Language.FRENCH, Language.SPANISH)
"""What a text is taken for whose words speak for several languages alike; then the order of `Language`."""
_LETTERS: Final = {
    letter: (language,)
    for language, letters in {
        Language.GERMAN: "ßäöü",
        Language.FRENCH: "çèêœ",
        Language.SPANISH: "ñ¿¡",
        Language.PORTUGUESE: "ãõ",
        Language.SWEDISH: "å",
        Language.DANISH: "øæ",
    }.items()
    for letter in letters
}
"""What a text without small words is taken for, by letters of it."""


def language_of(pieces: Iterable[str]) -> Language | None:
    """The language for which most of a text's small words speak, else its letters; None if neither says anything.

    Args:
        pieces: what stands between the text's spaces, with its accents; order and repetitions change nothing.
    """
    spoken = {piece.lower() for piece in pieces}
    return _first(_SPEAKS_FOR, spoken) or _first(_LETTERS, {letter for word in spoken for letter in word})


def _first(speaks_for: Mapping[str, tuple[Language, ...]], heard: set[str]) -> Language | None:
    votes: dict[Language, float] = {}
    for each in sorted(heard & speaks_for.keys()):  # in one order, so that sums of fractions are the same everywhere
        for language in speaks_for[each]:
            votes[language] = votes.get(language, 0) + 1 / len(speaks_for[each])
    in_order = (language for language in (*_FIRST, *Language) if language in votes)
    return max(in_order, key=votes.__getitem__, default=None)
