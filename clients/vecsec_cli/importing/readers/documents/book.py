"""EPUB: the chapters in their order, each an HTML page."""

from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile

from lxml import etree

from vecsec_cli.importing.readers import html_page
from vecsec_cli.importing.readers.documents.office_file import checked_zip
from vecsec_cli.importing.readers.reading import NotRead, Reading
from vecsec_cli.importing.readers.text_bytes import decoded
from vecsec_client.splitting.blocks import Block

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def read(path: Path) -> Reading:
    """Read a file.

    Raises:
        NotRead: if it is encrypted or damaged; also while its blocks are read.
    """
    checked_zip(path)
    try:
        with ZipFile(path) as archive:
            names = set(archive.namelist())
            if "META-INF/rights.xml" in names:
                raise NotRead("is encrypted")
            root = etree.fromstring(archive.read("META-INF/container.xml"), _PARSER)
            package_name = root.xpath("string(//*[local-name()='rootfile']/@full-path)")
            package = etree.fromstring(archive.read(package_name), _PARSER)
    except (BadZipFile, KeyError, etree.XMLSyntaxError) as error:
        raise NotRead("is damaged") from error
    title = package.xpath("string(//*[local-name()='metadata']/*[local-name()='title'])")
    return Reading(_blocks(path, _chapters(package, package_name)), title=" ".join(title.split()))


def _chapters(package: "etree._Element", package_name: str) -> list[str]:
    """The names of the pages in the order in which they are read."""
    places = {
        item.get("id"): normpath(join(dirname(package_name), unquote(item.get("href", ""))))
        for item in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")
        if "html" in item.get("media-type", "")
    }
    order = package.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref")
    return [places[each] for each in order if each in places]


def _blocks(path: Path, chapters: list[str]) -> Iterator[Block]:
    try:
        with ZipFile(path) as archive:
            for name in chapters:
                yield from html_page.read(decoded(archive.read(name), None), 0).blocks
    except (BadZipFile, KeyError) as error:
        raise NotRead("is damaged") from error
