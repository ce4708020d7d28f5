"""What letters a text is written in, as far as it changes where words begin and end."""

import re
import unicodedata
from typing import Final

from vecsec_retrieval.words.normalising import class_of

_MARKS: Final = class_of(code for code in range(0x1F000) if unicodedata.category(chr(code)).startswith("M"))
LETTER: Final = rf"[\w{_MARKS}]"
"""Letters, digits, low lines, and the marks that belong to letters: `\\w` alone would cut Hindi within its words."""

_WITHOUT_SPACES: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # signs of repetition and zero, as in 人々
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x3105, 0x312F),  # Bopomofo
    (0x31F0, 0x31FF),  # Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),  # Hangul: written with spaces, but what follows a noun sticks to it
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_UNSPACED: Final = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _WITHOUT_SPACES)

UNSPACED_OR_OTHER: Final = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^{_UNSPACED}]+")
"""Runs of letters that are written without spaces between words, and what is between them."""

PICTURE: Final = "[\U00002600-\U000027bf\U0001f000-\U0001faff]"
"""Emoji and dingbats: each is a word."""
