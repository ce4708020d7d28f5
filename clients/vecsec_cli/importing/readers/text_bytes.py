"""Bytes of files as text, without guesses that could be wrong in silence."""

import codecs

from vecsec_cli.importing.readers.reading import NotRead

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LOOKED_AT = 4096
_UTF16 = {(False, True): "utf-16-le", (True, False): "utf-16-be"}
"""Which of two bytes is zero in a Latin text."""


def encoding_of(start: bytes) -> str:
    """The encoding that a file's first bytes show: by a mark, or by the zeros of UTF-16; else UTF-8."""
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name
    start = start[: min(len(start), _LOOKED_AT) // 2 * 2]
    zeros = [sum(byte == 0 for byte in start[parity::2]) > 0.4 * len(start) / 2 for parity in (0, 1)]
    return _UTF16.get((zeros[0], zeros[1]), "utf-8")


def decoded(content: bytes, encoding: str | None) -> str:
    """The text of a file, in the encoding that is given or that it shows.

    Raises:
        NotRead: if it is no text in that encoding.
    """
    name = encoding or encoding_of(content)
    try:
        text = content.decode(name)
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise NotRead("is binary, whatever its name says") from error
        shown = "UTF-8" if name.startswith("utf-8") else name
        raise NotRead(f"not valid {shown}", f"at byte {error.start + 1}; --encoding says another") from error
    except UnicodeError as error:
        raise NotRead(f"not valid {name}") from error
    if "\0" in text:
        raise NotRead("is binary, whatever its name says")
    return text.removeprefix("\ufeff")
