"""Word (`.docx`): headings, paragraphs, lists and tables in their order."""

import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

from docx import Document
from docx.opc.exceptions import PackageNotFoundError
from docx.table import Table
from lxml.etree import XMLSyntaxError

from vecsec_cli.importing.readers.documents.office_file import checked_zip
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_client.splitting.blocks import Block, Kind, heading, table

_HEADING = re.compile(r"Heading ([1-9])")


def read(path: Path) -> Reading:
    """Read a file.

    Raises:
        NotRead: if it is encrypted or damaged.
    """
    checked_zip(path)
    try:
        document = Document(str(path))
    except (PackageNotFoundError, BadZipFile, XMLSyntaxError, KeyError, ValueError) as error:
        raise NotRead("is damaged") from error
    return Reading(_blocks(document.iter_inner_content()), title=document.core_properties.title or "")


def _blocks(content: Iterator[object]) -> Iterator[Block]:
    items: list[str] = []
    for part in content:
        if isinstance(part, Table):
            yield from _list(items)
            made = table([[cell.text for cell in row.cells] for row in part.rows])
            if made is not None:
                yield made
            continue
        text, style = part.text.strip(), part.style.name or ""  # type: ignore[attr-defined]
        level = _HEADING.fullmatch(style)
        if text and style.startswith("List"):
            items.append(f"- {text}")
            continue
        yield from _list(items)
        if text and (level or style == "Title"):
            yield heading(text, min(6, int(level[1])) if level else 1)
        elif text:
            yield Block(Kind.TEXT, text)
    yield from _list(items)


def _list(items: list[str]) -> Iterator[Block]:
    """The items that follow one another, as one block; none are left."""
    if items:
        parts = tuple(Block(Kind.TEXT, item) for item in items) if len(items) > 1 else ()
        yield Block(Kind.WHOLE, "\n".join(items), parts=parts)
        items.clear()
