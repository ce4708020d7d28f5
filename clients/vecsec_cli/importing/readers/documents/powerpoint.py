"""PowerPoint (`.pptx`): each slide below its title, with its notes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from lxml.etree import XMLSyntaxError
from pptx import Presentation
from pptx.exc import PackageNotFoundError

from vecsec_cli.importing.readers.documents.office_file import checked_zip
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_client.splitting.blocks import Block, Kind, heading, table


def read(path: Path) -> Reading:
    """Read a file.

    Raises:
        NotRead: if it is encrypted or damaged.
    """
    checked_zip(path)
    try:
        presentation = Presentation(str(path))
    except (PackageNotFoundError, BadZipFile, XMLSyntaxError, KeyError, ValueError) as error:
        raise NotRead("is damaged") from error
    return Reading(_blocks(presentation), title=presentation.core_properties.title or "")


def _blocks(presentation: Any) -> Iterator[Block]:
    for number, slide in enumerate(presentation.slides, start=1):
        title = slide.shapes.title
        if title is not None and title.text_frame.text.strip():
            yield heading(title.text_frame.text, 1, page=number)
        for shape in _shapes(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                yield from _shape(shape, number)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield from _text(slide.notes_slide.notes_text_frame.text, number)


def _shapes(shapes: Any) -> Iterator[Any]:
    """All shapes, those of groups too."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _shape(shape: Any, page: int) -> Iterator[Block]:
    if shape.has_text_frame:
        yield from _text(shape.text_frame.text, page)
    elif getattr(shape, "has_table", False):
        made = table([[cell.text_frame.text for cell in row.cells] for row in shape.table.rows], page=page)
        if made is not None:
            yield made


def _text(text: str, page: int) -> Iterator[Block]:
    if text.strip():
        yield Block(Kind.TEXT, text.replace("\v", "\n").strip(), page=page)
