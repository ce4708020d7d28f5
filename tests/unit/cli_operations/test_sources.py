"""Which reader a source gets."""

from pathlib import Path

import pytest

from vecsec_cli.importing.chroma_collection import ChromaAddress, ChromaSource
from vecsec_cli.importing.csv_table import Columns, CsvSource
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import SourceError
from vecsec_cli.importing.sources import ReadingOptions, SourceFormat, open_source
from vecsec_cli.importing.text_folder import TextFolderSource

OPTIONS = ReadingOptions(Columns(), Defaults())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", JsonLinesSource),
        ("a.NDJSON", JsonLinesSource),
        ("-", JsonLinesSource),
        ("a.csv", CsvSource),
        (".", TextFolderSource),
        ("chroma:/data#notes", ChromaSource),
        ("chroma+http://localhost:8000#notes", ChromaSource),
    ],
)
def test_the_name_says_the_format(name: str, kind: type) -> None:
    assert isinstance(open_source(name, None, OPTIONS), kind)


def test_the_option_goes_before_the_name() -> None:
    assert isinstance(open_source("-", SourceFormat.CSV, OPTIONS), CsvSource)


def test_an_unknown_name_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(SourceError, match="--format says it"):
        open_source(str(tmp_path / "a.json"), None, OPTIONS)
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(str(tmp_path / "b.json"), None, OPTIONS)


@pytest.mark.parametrize(
    ("source", "location", "is_remote"),
    [
        ("chroma:/data/db#notes", "/data/db", False),
        ("chroma:db#notes", "db", False),
        ("chroma+http://host:8000#notes", "http://host:8000", True),
        ("chroma+https://host#notes", "https://host", True),
    ],
)
def test_addresses_of_collections(source: str, location: str, is_remote: bool) -> None:
    assert ChromaAddress.parse(source) == ChromaAddress(location, "notes", is_remote)


@pytest.mark.parametrize("source", ["chroma:/data/db", "chroma:#notes", "chroma+ftp://host#notes", "chroma:/data#"])
def test_an_address_that_is_none_is_one_clear_line(source: str) -> None:
    with pytest.raises(SourceError, match="not a collection"):
        ChromaAddress.parse(source)
