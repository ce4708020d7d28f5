"""How texts look on a terminal. Those of other people are data there, never markup and never control."""

import unicodedata

from rich.text import Text

from vecsec_client import Sensitivity

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_KEPT = frozenset("\n\t")
# These reorder or hide what follows them, so that a line reads as something else than it is.
_DECEPTIVE = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u2028\u2029")
_CATEGORIES = frozenset({"Cc", "Cs"})
"""Control characters, and halves of surrogate pairs, which no terminal can be sent."""

_STYLE_OF_SENSITIVITY = {
    Sensitivity.PUBLIC: "green",
    Sensitivity.INTERNAL: "cyan",
    Sensitivity.CONFIDENTIAL: "yellow",
    Sensitivity.SECRET: "red",
}


def harmless(text: str) -> str:
    """The text without characters that command a terminal or deceive its reader; each is replaced visibly."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _KEPT or (character not in _DECEPTIVE and unicodedata.category(character) not in _CATEGORIES)
        else _REPLACEMENT
        for character in text
    )


def one_line(text: str, width: int) -> str:
    """The first non-blank line, harmless and at most `width` characters long."""
    lines = (line.strip() for line in text.splitlines())
    line = " ".join(harmless(next((line for line in lines if line), "")).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def plain(text: str, style: str = "") -> Text:
    """Text for a rich table: harmless, and its brackets are no markup."""
    return Text(harmless(text), style=style)


def sensitivity_style(sensitivity: Sensitivity | None) -> tuple[str, str]:
    """A sensitivity's name, and the style in which tables show it."""
    return ("unknown", "bold red") if sensitivity is None else (sensitivity.value, _STYLE_OF_SENSITIVITY[sensitivity])


def counted(number: int) -> str:
    """So many documents, in words."""
    return "1 document" if number == 1 else f"{number:,} documents"
