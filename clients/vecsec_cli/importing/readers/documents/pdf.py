"""PDF: the text of each page."""

from collections.abc import Iterator
from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_client.splitting.blocks import Block, Kind


def read(path: Path) -> Reading:
    """Read a file.

    Raises:
        NotRead: if it is encrypted, damaged or has no text; also while its blocks are read.
    """
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise NotRead("is encrypted")
        title = reader.metadata.title if reader.metadata else None
    except PyPdfError as error:
        raise NotRead("is damaged") from error
    return Reading(_blocks(reader), title=title if isinstance(title, str) else "")


def _blocks(reader: PdfReader) -> Iterator[Block]:
    has_text = False
    try:
        for number, page in enumerate(reader.pages, start=1):
            text = page.extract_text().strip()
            if text:
                has_text = True
                yield Block(Kind.TEXT, text, page=number)
    except PyPdfError as error:
        raise NotRead("is damaged") from error
    if not has_text:
        raise NotRead("has no text; is it a scan?")
