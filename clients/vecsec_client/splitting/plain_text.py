"""A text without marks as blocks: its paragraphs."""

import re
from collections.abc import Iterator

from vecsec_client.splitting.blocks import Block, Kind

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def blocks(text: str) -> Iterator[Block]:
    """The paragraphs of a text."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = 0
    for gap in _BLANK_LINES.finditer(text):
        yield from _paragraph(text[start : gap.start()])
        start = gap.end()
    yield from _paragraph(text[start:])


def _paragraph(text: str) -> Iterator[Block]:
    if text.strip():
        yield Block(Kind.TEXT, text.rstrip())
