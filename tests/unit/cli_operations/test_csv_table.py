"""CSV: columns by option, further columns as metadata, bad rows named."""

import gzip
from pathlib import Path

import pytest

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.csv_table import Columns, CsvSource
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.records import BadRecord, Passage, SourceError, SourceRecord
from vecsec_client import Sensitivity

DEFAULTS = Defaults(Sensitivity.PUBLIC, ("rag",))


def read(content: bytes, folder: Path, columns: Columns | None = None) -> list[SourceRecord]:
    path = folder / "table.csv"
    path.write_bytes(content)
    return list(CsvSource(path, columns or Columns(), DEFAULTS).records())


def test_columns_of_their_own_names_and_metadata(tmp_path: Path) -> None:
    content = b"key,body,level,about,author\n1,some text,SECRET,rag; retrieval,ann\n2,other,,,\n"
    first, second = read(content, tmp_path, Columns("key", "body", "level", "about"))
    assert isinstance(first, Passage)
    assert isinstance(second, Passage)
    assert first.document.document_id == "1"
    assert (first.document.sensitivity, first.document.topics) == (Sensitivity.SECRET, ("rag", "retrieval"))
    assert first.document.metadata == {"author": "ann"}
    assert (second.document.sensitivity, second.document.topics) == (Sensitivity.PUBLIC, ("rag",))
    assert second.document.metadata == {}, "an empty cell is no metadata"


def test_a_quoted_cell_may_hold_lines_and_places_stay_right(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines, and ""quotes"""\r\n,none\r\n'
    first, second = read(content, tmp_path)
    assert isinstance(first, Passage)
    assert first.document.text == 'two\r\nlines, and "quotes"'
    assert first.line == 2
    assert isinstance(second, BadRecord)
    assert (second.line, second.field) == (4, "id")


@pytest.mark.parametrize("name", ["Sensitivity", " sensitivity", "SENSITIVITY "])
def test_a_column_that_is_nearly_the_labels_is_the_labels(tmp_path: Path, name: str) -> None:
    (record,) = read(f"ID,Text,{name}\n1,a,SECRET\n".encode(), tmp_path)
    assert isinstance(record, Passage)
    assert (record.document.sensitivity, record.document.metadata) == (Sensitivity.SECRET, {})


@pytest.mark.parametrize(
    "content",
    [
        b"id;text;note\n1;a, b;c\n",
        b"id\ttext\tnote\n1\ta, b\tc\n",
        b"id|text|note\n1|a, b|c\n",
        b"sep=;\r\nid;text;note\r\n1;a, b;c\r\n",
        "id;text;note\n1;a, b;c\n".encode("utf-16"),
        "id;text;note\n1;a, b;c\n".encode("utf-16-be"),
        gzip.compress(b"id;text;note\n1;a, b;c\n"),
    ],
    ids=["semicolon", "tab", "bar", "sep=", "utf-16", "utf-16-be", "gzip"],
)
def test_delimiter_and_encoding_are_found_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ("table.csv.gz" if content.startswith(b"\x1f\x8b") else "table.csv")
    path.write_bytes(content)
    (record,) = CsvSource(path, Columns(), DEFAULTS).records()
    assert isinstance(record, Passage), record
    assert (record.document.text, record.document.metadata) == ("a, b", {"note": "c"})


def test_delimiter_encoding_and_header_are_taken_as_given(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("1:caf\xe9:x\n".encode("cp1252"))
    columns = Columns(header=("id", "text", "note"), renamed={"note": "remark"})
    (record,) = CsvSource(path, columns, DEFAULTS, delimiter=":", encoding="cp1252").records()
    assert isinstance(record, Passage), record
    assert (record.document.text, record.document.metadata) == ("caf\xe9", {"remark": "x"})


def test_odd_names_of_columns_become_keys(tmp_path: Path) -> None:
    header = "id,text,Created at,_node,2024,Größe,,part.no"
    (record,) = read(f"{header}\n1,a,b,c,d,e,f,007\n".encode(), tmp_path)
    assert isinstance(record, Passage), record
    assert record.document.metadata == {
        "Created_at": "b",
        "node": "c",
        "column_2024": "d",
        "Gr_e": "e",
        "column_7": "f",
        "part.no": "007",
    }


def test_a_sensitivity_in_another_case_is_taken(tmp_path: Path) -> None:
    (record,) = read(b"id,text,sensitivity\n1,a,secret\n", tmp_path)
    assert isinstance(record, Passage)
    assert record.document.sensitivity is Sensitivity.SECRET


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1\n", "has 1 cells where the header has 2"),
        (b"1,a,b\n", "has 3 cells where the header has 2"),
        (b"1,caf\xe9\n", "not valid UTF-8"),
        (b'1,"a"b\n', "not valid CSV"),
        (b"1," + b"x" * byte_lines.MAX_LINE_BYTES + b"\n", "longer than 8 MiB"),
        (b"1, \n", "text: must not be blank"),
    ],
    ids=["short", "wide", "latin-1", "quote", "long", "blank"],
)
def test_a_bad_row_is_named_and_the_rest_goes_on(tmp_path: Path, row: bytes, reason: str) -> None:
    bad, good = read(b"id,text\n" + row + b"2,fine\n", tmp_path)
    assert isinstance(bad, BadRecord)
    assert reason in str(bad)
    assert bad.line == 2
    assert isinstance(good, Passage)
    assert good.line == 3


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\n", "no column 'id'; columns: none; --id-column names another"),
        (b"id,body\n", "no column 'text'; columns: id, body; --text-column names another"),
        (b"id,text,text\n", "two columns have the same name"),
        (b"id,text,a b,a_b\n", "two columns have the same name, 'a_b': 'a b' and 'a_b'; --rename"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_whole(tmp_path: Path, header: bytes, message: str) -> None:
    with pytest.raises(SourceError) as refusal:
        read(header + b"1,a,b\n", tmp_path)
    assert message in str(refusal.value)
