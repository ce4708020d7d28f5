"""Compounds that are written as one word: `Zertifikatserneuerung` is found by `Zertifikat` and by `Erneuerung`.

Without a dictionary nobody can tell where a compound has its joint. But what it begins with begins with the same
letters, and what it ends with ends with them.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from vecsec_retrieval.words.languages import Language

COMPOUNDING: Final = frozenset({
    Language.DANISH, Language.DUTCH, Language.FINNISH, Language.GERMAN, Language.NORWEGIAN, Language.SWEDISH,
})  # fmt: skip
_LETTERS: Final = 5
"""In which the beginnings, and the ends, of words have to agree."""
SHORTEST_IN_DOCUMENTS: Final = 7
SHORTEST_IN_QUERIES: Final = 5
"""A part of a compound may be shorter than a compound."""


def beginnings_and_ends(forms: Iterable[str], shortest: int) -> Iterator[str]:
    """Of a word in its forms, as words that cannot be mistaken for others: `zerti*`, `*erung`."""
    for form in forms:
        if len(form) >= shortest and form.isalpha():
            yield f"{form[:_LETTERS]}*"
            yield f"*{form[-_LETTERS:]}"
