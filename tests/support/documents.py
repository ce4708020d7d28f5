"""Real documents of each format, made by the libraries that people make them with, or by hand."""

import zipfile
from pathlib import Path

import xlsxwriter
from docx import Document
from pptx import Presentation
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

LONG = "A sentence about recall. " * 60


def pdf(path: Path, *pages: str, password: str = "", title: str = "") -> None:
    """A PDF file with a line of text a page."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(width=612, height=792)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="AES-256")
    writer.write(path)


def word(path: Path) -> None:
    """A Word file with headings, a list and a table."""
    document = Document()
    document.core_properties.title = "Handbook"
    document.add_heading("Ranking", 1)
    document.add_paragraph(LONG)
    document.add_heading("Weights", 2)
    document.add_paragraph("first item", style="List Bullet")
    document.add_paragraph("second item", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("name", "value"), ("alpha", "0.5")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.add_paragraph(LONG)
    document.save(str(path))


def powerpoint(path: Path) -> None:
    """A PowerPoint file with a slide of a title and text, and notes."""
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Plan of the year"
    slide.placeholders[1].text = "Ship the importer"
    slide.notes_slide.notes_text_frame.text = "Say thanks"
    presentation.save(str(path))


def excel(path: Path, rows: int = 2) -> None:
    """An Excel file with a sheet of numbered rows."""
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet("Parts")
        sheet.write_row(0, 0, ["part", "name"])
        for number in range(1, rows + 1):
            sheet.write_row(number, 0, [number, f"bolt {number}"])


def epub(path: Path) -> None:
    """An EPUB file of two chapters, whose names say another order than the book."""
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    container += '<rootfile full-path="book/content.opf"/></rootfiles></container>'
    package = '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
    package += "<dc:title>On Recall</dc:title></metadata><manifest>"
    package += '<item id="one" href="z.xhtml" media-type="application/xhtml+xml"/>'
    package += '<item id="two" href="a%20b.xhtml" media-type="application/xhtml+xml"/>'
    package += '</manifest><spine><itemref idref="one"/><itemref idref="two"/></spine></package>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("book/content.opf", package)
        archive.writestr("book/z.xhtml", "<html><body><h1>First</h1><p>begins</p></body></html>")
        archive.writestr("book/a b.xhtml", "<html><body><h1>Second</h1><p>ends</p></body></html>")


def padded_word(path: Path, mebibytes: int) -> None:
    """A Word file whose text is followed by so much of nothing."""
    plain = path.with_suffix(".plain")
    word(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            with archive.open(name, "w") as part:
                part.write(source.read(name))
                for _ in range(mebibytes if name == "word/document.xml" else 0):
                    part.write(b" " * (1 << 20))
    plain.unlink()
