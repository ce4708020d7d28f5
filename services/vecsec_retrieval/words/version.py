"""Which words these modules make: what was derived from a text by another version has to be derived again."""

import unicodedata
from importlib.metadata import version
from typing import Final

_RULES: Final = 4
"""Raised with every change of what `words_of_text` returns for any text."""

WORDS_VERSION: Final = f"{_RULES}/unicode-{unicodedata.unidata_version}/snowball-{version('pystemmer')}"
"""Rules, Unicode's tables (which come with Python) and stemmers by which words are made."""
