"""PDF, Word, PowerPoint, Excel and EPUB files, and what becomes of those that cannot be read."""

import gzip
from pathlib import Path

import pytest
from support import documents

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.importing.readers.documents import isolated
from vecsec_cli.importing.readers.documents.isolated import DocumentReader
from vecsec_cli.importing.readers.reading import NotRead
from vecsec_cli.importing.records import BadRecord, Passage
from vecsec_client import DocumentInput, Sensitivity

DEFAULTS = Defaults(Sensitivity.PUBLIC, ("rag",))


def read(root: Path) -> dict[str, DocumentInput]:
    records = list(FileTreeSource(root, DEFAULTS).records())
    assert not [each for each in records if isinstance(each, BadRecord)]
    return {each.document.document_id: each.document for each in records if isinstance(each, Passage)}


def test_a_pdf_is_read_with_its_title_and_pages(tmp_path: Path) -> None:
    documents.pdf(tmp_path / "a.pdf", *(f"page {number} " + documents.LONG for number in (1, 2)), title="On Recall")
    found = read(tmp_path)
    assert list(found) == ["a.pdf#1", "a.pdf#2"]
    assert found["a.pdf#2"].text.startswith("On Recall\n\n")
    assert found["a.pdf#1"].metadata == {"path": "a.pdf", "passage": 1, "page": 1, "title": "On Recall"}
    assert "page 2" in found["a.pdf#2"].text


def test_a_word_files_headings_lists_and_tables_are_read(tmp_path: Path) -> None:
    documents.word(tmp_path / "a.docx")
    found = list(read(tmp_path).values())
    assert found[0].text.startswith("Handbook\n\n# Ranking\n\nA sentence")
    (listed,) = [each for each in found if "first item" in each.text]
    assert (
        "## Weights\n\n- first item\n- second item\n\n| name | value |\n| --- | --- |\n| alpha | 0.5 |" in listed.text
    )
    assert listed.metadata["headings"] == "Ranking"
    assert found[-1].metadata["title"] == "Handbook"


def test_slides_sheets_and_chapters_are_read(tmp_path: Path) -> None:
    documents.powerpoint(tmp_path / "a.pptx")
    documents.excel(tmp_path / "b.xlsx")
    documents.epub(tmp_path / "c.epub")
    found = read(tmp_path)
    assert found["a.pptx"].text == "# Plan of the year\n\nShip the importer\n\nSay thanks"
    assert found["b.xlsx"].text == "# Parts\n\n| part | name |\n| --- | --- |\n| 1 | bolt 1 |\n| 2 | bolt 2 |"
    assert found["c.epub"].text == "On Recall\n\n# First\n\nbegins\n\n# Second\n\nends"


def test_each_passage_of_a_long_sheet_has_its_head(tmp_path: Path) -> None:
    documents.excel(tmp_path / "b.xlsx", rows=3000)
    found = [each.text for each in read(tmp_path).values()]
    assert len(found) > 1
    assert all("| part | name |\n| --- | --- |\n" in text for text in found)
    assert sum(text.count("bolt") for text in found) == 3000


def test_a_packed_document_is_unpacked(tmp_path: Path) -> None:
    documents.excel(tmp_path / "b.xlsx")
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "b.xlsx.gz").write_bytes(gzip.compress((tmp_path / "b.xlsx").read_bytes()))
    assert list(read(packed)) == ["b.xlsx.gz"]


def test_bad_documents_are_named_with_their_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    documents.pdf(tmp_path / "encrypted.pdf", "x", password="secret")
    documents.pdf(tmp_path / "scan.pdf", "")
    (tmp_path / "garbage.pdf").write_bytes(b"%PDF-1.7\n" + b"\xff\x00garbage" * 100)
    (tmp_path / "text.docx").write_text("no zip")
    (tmp_path / "old.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    documents.padded_word(tmp_path / "bomb.docx", 201)
    (tmp_path / "empty.epub").write_bytes(b"")
    documents.word(tmp_path / "good.docx")
    source = FileTreeSource(tmp_path, DEFAULTS)
    records = list(source.records())
    reasons = {each.document_id: each.reason for each in records if isinstance(each, BadRecord)}
    assert reasons == {
        "bomb.docx": "unpacks to more than 200 MiB",
        "empty.epub": "is damaged",
        "encrypted.pdf": "is encrypted",
        "garbage.pdf": "is damaged",
        "old.xlsx": "is encrypted, or older than its name says",
        "scan.pdf": "has no text; is it a scan?",
        "text.docx": "is damaged",
    }
    assert {each.document_id.partition("#")[0] for r in records if isinstance(r, Passage) for each in [r.document]} == {
        "good.docx"
    }
    assert source.unread.unwanted_count == len(reasons)


def test_a_document_that_takes_too_much_memory_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    documents.padded_word(tmp_path / "big.docx", 195)  # what is allowed on disk is more than the reader may hold
    documents.word(tmp_path / "good.docx")
    with DocumentReader() as reader:
        with pytest.raises(NotRead, match="too much memory"):
            reader.read(tmp_path / "big.docx", SourceFormat.DOCX)
        assert reader.read(tmp_path / "good.docx", SourceFormat.DOCX).title == "Handbook"


def test_a_document_that_takes_too_long_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    documents.word(tmp_path / "good.docx")
    with DocumentReader(seconds=0.0) as reader, pytest.raises(NotRead, match="took longer than 0 s"):
        reader.read(tmp_path / "good.docx", SourceFormat.DOCX)


def test_a_missing_extra_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents.word(tmp_path / "good.docx")
    monkeypatch.setattr(isolated.importlib.util, "find_spec", lambda _name: None)
    source = FileTreeSource(tmp_path, DEFAULTS)
    (bad,) = source.records()
    assert isinstance(bad, BadRecord)
    assert bad.reason == "needs vecsec[documents], which is not installed"
