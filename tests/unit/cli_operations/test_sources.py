"""Which reader a source gets."""

from pathlib import Path

import pytest

from vecsec_cli.importing.chroma_collection import ChromaAddress, ChromaSource
from vecsec_cli.importing.csv_table import Columns, CsvSource
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileOptions, FileTreeSource
from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.importing.json_array import JsonArraySource
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import SourceError
from vecsec_cli.importing.row_splitting import SplitSource
from vecsec_cli.importing.sources import ReadingOptions, open_source

OPTIONS = ReadingOptions(Columns(), Defaults())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", JsonLinesSource),
        ("a.NDJSON", JsonLinesSource),
        ("-", JsonLinesSource),
        ("a.csv", CsvSource),
        (".", FileTreeSource),
        ("a.json", JsonArraySource),
        ("a.json.gz", JsonArraySource),
        ("a.tsv", CsvSource),
        ("chroma:/data#notes", ChromaSource),
        ("chroma+http://localhost:8000#notes", ChromaSource),
    ],
)
def test_the_name_says_the_format(name: str, kind: type) -> None:
    found = open_source(name, None, OPTIONS)
    assert isinstance(found.source if isinstance(found, SplitSource) else found, kind)
    assert isinstance(
        open_source(name, None, ReadingOptions(Columns(), Defaults(), files=FileOptions(lengths=None))), kind
    )


def test_the_option_goes_before_the_name() -> None:
    found = open_source("-", SourceFormat.CSV, OPTIONS)
    assert isinstance(found, SplitSource)
    assert isinstance(found.source, CsvSource)


def test_an_unknown_name_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("[]")
    with pytest.raises(SourceError, match="--format says it"):
        open_source(str(tmp_path / "a.xyz"), None, OPTIONS)
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(str(tmp_path / "b.xyz"), None, OPTIONS)
    with pytest.raises(SourceError, match="--read-as SUFFIX=csv"):
        open_source(str(tmp_path), SourceFormat.CSV, OPTIONS)


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
