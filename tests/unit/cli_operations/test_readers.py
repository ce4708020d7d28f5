"""Access lists on their way in: every format names readers, and one that got lost is refused, never taken for none."""

import json
from pathlib import Path

import pytest

from vecsec_cli.importing.csv_table import Columns, CsvSource
from vecsec_cli.importing.documents import Defaults, SourcePosition, record_of
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import BadRecord, Passage, SourceError, SourceRecord
from vecsec_client import Sensitivity

DEFAULTS = Defaults(Sensitivity.PUBLIC, ("rag",))
WITH_READERS = Defaults(Sensitivity.PUBLIC, ("rag",), ("group:staff",))
PLACE = SourcePosition("here", 1)


def lines(folder: Path, **fields: object) -> list[SourceRecord]:
    path = folder / "documents.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "text", **fields}) + "\n")
    return list(JsonLinesSource(path, DEFAULTS).records())


def table(folder: Path, text: str, columns: Columns | None = None) -> list[SourceRecord]:
    path = folder / "table.csv"
    path.write_text(text)
    return list(CsvSource(path, columns or Columns(), DEFAULTS).records())


def page(folder: Path, front: str) -> list[SourceRecord]:
    (folder / "page.md").write_text(f"---\n{front}\n---\nText.\n")
    return list(FileTreeSource(folder / "page.md", DEFAULTS).records())


def readers(records: list[SourceRecord]) -> object:
    (record,) = records
    assert isinstance(record, Passage), record
    return record.document.readers


def reason(records: list[SourceRecord]) -> str:
    (record,) = records
    assert isinstance(record, BadRecord), record
    assert record.field.startswith("readers")
    return record.reason


def test_every_format_names_readers(tmp_path: Path) -> None:
    expected = ("user:alice", "group:CN=Finance, OU=EMEA")
    assert readers(lines(tmp_path, readers=list(expected))) == expected
    assert readers(table(tmp_path, f'id,text,readers\na,text,"{"; ".join(expected)}"\n')) == expected
    columns = Columns(readers="acl")
    assert readers(table(tmp_path, f'id,text,acl\na,text,"{";".join(expected)}"\n', columns)) == expected
    assert readers(page(tmp_path, 'Readers: ["user:alice", "group:CN=Finance, OU=EMEA"]')) == expected
    assert readers(page(tmp_path, "readers: user:alice; group:CN=Finance, OU=EMEA")) == expected


def test_documents_without_a_list_are_open_or_get_the_options(tmp_path: Path) -> None:
    assert readers(lines(tmp_path)) is None
    assert readers(table(tmp_path, "id,text\na,text\n")) is None
    assert readers(page(tmp_path, "title: x")) is None
    fields = {"id": "a", "text": "text"}
    assert readers([record_of(fields, PLACE, WITH_READERS)]) == ("group:staff",)
    assert readers([record_of({**fields, "readers": ["user:al"]}, PLACE, WITH_READERS)]) == ("user:al",)


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        (None, "must be a list of texts, not None"),
        ([], "is empty: nobody could read it"),
        ("user:alice", "must be a list of texts"),
        (["alice"], "must be user:SUBJECT or group:NAME, not 'alice'"),
        (["USER:alice"], "must be user:SUBJECT or group:NAME"),
        (["group:"], "must be user:SUBJECT or group:NAME"),
        ([7], "must be user:SUBJECT or group:NAME, not 7"),
        (["group:a\nb"], "at most 256 printable characters"),
        (["group:" + "x" * 10_000], "at most 256 printable characters"),
        ([f"group:{number}" for number in range(65)], "must be at most 64; put them into a group"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, named: object, complaint: str) -> None:
    assert complaint in reason(lines(tmp_path, readers=named))


def test_a_list_that_got_lost_is_not_taken_for_none(tmp_path: Path) -> None:
    assert "is empty" in reason(table(tmp_path, "id,text,readers\na,text,\n"))
    assert "is empty" in reason(table(tmp_path, "id,text,readers\na,text,;\n"))
    (record,) = page(tmp_path, "readers:")
    assert isinstance(record, BadRecord)
    assert "readers has no value" in record.reason
    assert readers(table(tmp_path, "id,text, Readers\na,text,user:b\n")) == ("user:b",)
    with pytest.raises(SourceError, match="two columns have the same name, 'readers'"):
        table(tmp_path, "id,text,Readers,readers\na,text,user:b,user:c\n")
