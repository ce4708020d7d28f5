"""reStructuredText: sections by their adornment, and what is indented with the line that it belongs to.

The text stays as it is written. A whole parser would run directives, which may read other files.
"""

import re
from collections.abc import Iterator

from vecsec_cli.importing.readers.reading import Reading
from vecsec_client.splitting.blocks import Block, Kind

_ADORNMENT = re.compile(r"([!-/:-@[-`{-~])\1*\s*")
_TABLE_LINE = re.compile(r"(?:\+[-=+]+\+|=+(?: +=+)+)\s*")
_SIMPLE_TABLE_LINE = re.compile(r"=+(?: +=+)+\s*")
_DEEPEST = 6
_LONGEST_TITLE = 300


def read(text: str, longest: int) -> Reading:
    """Read a file's text."""
    return Reading(_blocks(text.replace("\r\n", "\n").replace("\r", "\n")))


def _blocks(text: str) -> Iterator[Block]:
    styles: list[tuple[str, bool]] = []
    waiting: list[str] = []
    for group in _groups(text):
        title = _title(group)
        if title is None:
            if waiting and group[0][:1].isspace():
                waiting += ["", *group]
                continue
            yield from _block(waiting)
            waiting = group
            continue
        yield from _block(waiting)
        style, count = title
        if style not in styles:
            styles.append(style)
        text_line = group[1 if style[1] else 0].strip()
        yield Block(
            Kind.HEADING, "\n".join(group[:count]), level=min(styles.index(style) + 1, _DEEPEST), title=text_line
        )
        waiting = group[count:]
    yield from _block(waiting)


def _groups(text: str) -> Iterator[list[str]]:
    """Lines between blank ones; a simple table may have blank lines in it."""
    group: list[str] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        line = text[start:] if end == -1 else text[start:end]
        start = len(text) if end == -1 else end + 1
        if line.strip() or _is_open_table(group):
            group.append(line.rstrip())
        elif group:
            yield group
            group = []
    if group:
        yield group


def _is_open_table(group: list[str]) -> bool:
    """Whether a simple table's last line is still to come: its head has two such lines, its end a third."""
    if not group or not _SIMPLE_TABLE_LINE.fullmatch(group[0]):
        return False
    return len(group) < 1000 and sum(1 for line in group if _SIMPLE_TABLE_LINE.fullmatch(line)) < 3


def _title(group: list[str]) -> tuple[tuple[str, bool], int] | None:
    """The adornment of a section's title, with a line above or not, and how many lines of the group it is."""
    if len(group) >= 3 and _is_adornment(group[0], group[1]) and group[2].strip() == group[0].strip():
        return (group[0][0], True), 3
    if len(group) >= 2 and not group[0][:1].isspace() and _is_adornment(group[1], group[0]):
        return (group[1][0], False), 2
    return None


def _is_adornment(line: str, title: str) -> bool:
    shown = line.strip()
    return (
        bool(_ADORNMENT.fullmatch(shown))
        and len(shown) >= max(2, len(title.strip()))
        and len(title) <= _LONGEST_TITLE
        and not _ADORNMENT.fullmatch(title.strip())
    )


def _block(lines: list[str]) -> Iterator[Block]:
    text = "\n".join(lines).rstrip()
    if not text.strip():
        return
    is_whole = (
        len(lines) > 1 and ("\n\n" in text or text.startswith((".. ", "- ", "* ", "| ")) or lines[0].endswith("::"))
    ) or bool(_TABLE_LINE.fullmatch(lines[0]))
    yield Block(Kind.WHOLE if is_whole else Kind.TEXT, text)
