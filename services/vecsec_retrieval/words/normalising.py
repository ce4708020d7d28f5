"""One form for what reads the same: compatibility forms, invisible characters, case and accents."""

import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Final

_ACCENTED_SCRIPTS: Final = range(0x00C0, 0x0400)
"""Latin and Greek, whose readers type words without their accents, too."""
_MORE_LATIN_AND_GREEK: Final = range(0x1E00, 0x2000)
_WITHOUT_DECOMPOSITION: Final = {
    "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ł": "l", "þ": "th", "ŧ": "t",
}  # fmt: skip


def class_of(characters: Iterable[int]) -> str:
    """The characters as what stands between the brackets of a regular expression."""
    ranges: list[tuple[int, int]] = []
    for each in sorted(characters):
        if ranges and ranges[-1][1] == each - 1:
            ranges[-1] = (ranges[-1][0], each)
        else:
            ranges.append((each, each))
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def _invisible() -> str:
    """Format characters (category Cf: zero-width ones, the soft hyphen, marks of direction, tags) and selectors of
    variants: what Unicode calls ignorable by default."""
    formats = (each for each in range(0x20000) if unicodedata.category(chr(each)) == "Cf" and not _is_prefix(each))
    selectors = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)
    return class_of({*formats, *selectors, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000)})


def _is_prefix(code: int) -> bool:
    """Signs that stand before numbers of Arabic, Syriac and Kaithi: in Cf, and visible."""
    return code in range(0x0600, 0x0606) or code in {0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}


def _marks() -> list[int]:
    """Characters that combine with the one before them, or are taken apart into such."""
    return [code for code in range(0x1F000) if unicodedata.combining(unicodedata.normalize("NFKD", chr(code))[0])]


_INVISIBLE: Final = re.compile(f"[{_invisible()}]+")
_MOST_MARKS: Final = 30
"""On one letter, as in Unicode's stream-safe text format (UAX 15): languages have three or four. Normalising sorts them
in quadratic time, in which no other thread of the process runs."""
_TOO_MANY_MARKS: Final = re.compile(f"([{class_of(_marks())}]{{{_MOST_MARKS}}})[{class_of(_marks())}]+")
_PERHAPS_TOO_MANY: Final = re.compile(f"[{class_of({*_marks(), *range(0x10000, 0x110000)})}]{{{_MOST_MARKS + 1}}}")
"""Finds some texts more, ten times as fast: `re` has a table up to U+FFFF, and beyond it compares range by range."""


def composed(text: str) -> str:
    """The text in Unicode's form NFKC, without characters that cannot be seen, and with 30 marks on a letter at most;
    its case stays. The time is linear in the text's length."""
    if text.isascii():
        return text
    return _normalised(_INVISIBLE.sub("", _normalised(text)))


def _normalised(text: str) -> str:
    if _PERHAPS_TOO_MANY.search(text):
        text = _TOO_MANY_MARKS.sub(r"\1", text)
    return unicodedata.normalize("NFKC", text)


def folded(word: str) -> str:
    """What was composed, without differences of case. Folding the result again changes nothing."""
    lowered = word.lower() if word.isascii() else composed(word.casefold())
    return lowered if lowered == word or lowered.isascii() else folded(lowered)


def without_accents(word: str) -> str:
    """A folded word, its Latin and Greek letters bare. Marks of other scripts make other letters, and stay."""
    return word if word.isascii() else word.translate(_BARE)


def _bare_letter(code: int) -> str:
    letters = unicodedata.normalize("NFKD", chr(code)).casefold()
    bare = "".join(each for each in letters if not unicodedata.combining(each))
    return "".join(_WITHOUT_DECOMPOSITION.get(each, each) for each in bare)


_BARE: Final = {
    code: sys.intern(_bare_letter(code))
    for letters in (_ACCENTED_SCRIPTS, _MORE_LATIN_AND_GREEK)
    for code in letters
    if chr(code).isalpha()
} | dict.fromkeys(range(0x0300, 0x0370))
"""By code; marks that no letter was composed with are taken away."""
