"""JSON lines: good ones become documents, bad ones are named with line, field and reason."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.import_run import without_repeated_ids
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import BadRecord, Passage, SourceError, SourceRecord
from vecsec_client import Sensitivity

GOOD = {"id": "a", "text": "some text", "sensitivity": "PUBLIC", "topics": ["rag"]}
BOTH = Defaults(Sensitivity.INTERNAL, ("retrieval",))


def read(content: bytes, folder: Path, defaults: Defaults | None = None) -> list[SourceRecord]:
    path = folder / "documents.jsonl"
    path.write_bytes(content)
    return list(without_repeated_ids(JsonLinesSource(path, defaults or Defaults()).records()))


def line(**changes: object) -> bytes:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return json.dumps(fields).encode() + b"\n"


def only_bad(records: list[SourceRecord]) -> BadRecord:
    (record,) = records
    assert isinstance(record, BadRecord), record
    return record


def only_good(records: list[SourceRecord]) -> Passage:
    (record,) = records
    assert isinstance(record, Passage), record
    return record


def test_a_whole_document(tmp_path: Path) -> None:
    content = line(metadata={"year": 2024, "draft": False, "score": 0.5, "note": "n"}, attributes={"region": ["eu"]})
    content = content.replace(b"}\n", b', "embedding": [1, 0.5, -2]}\n')
    passage = only_good(read(content, tmp_path))
    document = passage.document
    assert (document.document_id, document.text, document.sensitivity) == ("a", "some text", Sensitivity.PUBLIC)
    assert document.topics == ("rag",)
    assert document.metadata == {"year": 2024, "draft": False, "score": 0.5, "note": "n"}
    assert document.attributes == {"region": ["eu"]}
    assert document.embedding == (1.0, 0.5, -2.0)
    assert passage.place.endswith("documents.jsonl:1")


@pytest.mark.parametrize("missing", [..., None])
def test_options_fill_what_a_line_lacks_and_only_that(tmp_path: Path, missing: object) -> None:
    filled, own = read(line(sensitivity=missing, topics=missing) + line(id="b"), tmp_path, BOTH)
    assert isinstance(filled, Passage)
    assert isinstance(own, Passage)
    assert (filled.document.sensitivity, filled.document.topics) == (Sensitivity.INTERNAL, ("retrieval",))
    assert (own.document.sensitivity, own.document.topics) == (Sensitivity.PUBLIC, ("rag",))


@pytest.mark.parametrize("word", ["secret", "Secret", "SECRET"])
def test_a_sensitivity_in_any_case_is_taken_as_by_options(tmp_path: Path, word: str) -> None:
    (record,) = read(line(sensitivity=word), tmp_path)
    assert isinstance(record, Passage)
    assert record.document.sensitivity is Sensitivity.SECRET


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"id": ...}, "id", "missing"),
        ({"id": ""}, "id", "empty"),
        ({"id": 7}, "id", "must be a text"),
        ({"id": "mock-1"}, "id", "reserved"),
        ({"id": " a"}, "id", "blank"),
        ({"id": "a\nb"}, "id", "control character"),
        ({"id": "é" * 257}, "id", "512 bytes"),
        ({"id": "\ud800"}, "id", "not valid Unicode"),
        ({"text": ...}, "text", "missing"),
        ({"text": " \n"}, "text", "blank"),
        ({"text": "x" * (1 << 20) + "x"}, "text", "1 MiB"),
        ({"sensitivity": ...}, "sensitivity", "--sensitivity fills it"),
        ({"sensitivity": "secrets"}, "sensitivity", "known: PUBLIC, INTERNAL, CONFIDENTIAL, SECRET"),
        ({"sensitivity": 4}, "sensitivity", "unknown"),
        ({"sensitivity": ["PUBLIC"]}, "sensitivity", "unknown"),
        ({"topics": ...}, "topics", "--topics fills it"),
        ({"topics": []}, "topics", "readable by nobody"),
        ({"topics": "rag"}, "topics", "list"),
        ({"topics": ["rag", "Big Data"]}, "topics[1]", "not a topic"),
        ({"topics": ["rag", "rag"]}, "topics", "twice"),
        ({"metadata": []}, "metadata", "object"),
        ({"metadata": {"_x": 1}}, "metadata", "not a key"),
        ({"metadata": {"x": None}}, "metadata.x", "must be a text"),
        ({"metadata": {"x": [1]}}, "metadata.x", "must be a text"),
        ({"metadata": {"x": 1 << 63}}, "metadata.x", "64 bits"),
        ({"metadata": {"x": float("inf")}}, "metadata.x", "finite"),
        ({"metadata": {"x": "y" * 4097}}, "metadata.x", "4096"),
        ({"metadata": {f"x{number}": 1 for number in range(65)}}, "metadata", "at most 64"),
        ({"attributes": {"Region": "eu"}}, "attributes", "not a key"),
        ({"attributes": {"region": [1]}}, "attributes.region", "texts"),
        ({"embedding": []}, "embedding", "list of numbers"),
        ({"embedding": [1, float("nan")]}, "embedding[1]", "not a finite number"),
        ({"embedding": [True]}, "embedding[0]", "not a finite number"),
        ({"embedding": [10**400]}, "embedding[0]", "not a finite number"),
        ({"embedding": [0] * 8193}, "embedding", "8192"),
        ({"tenant_id": "tenant_b"}, "tenant_id", "unknown key"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, changes: Mapping[str, object], field: str, reason: str) -> None:
    bad = only_bad(read(line(**changes), tmp_path))
    assert bad.field == field
    assert reason in bad.reason
    assert bad.line == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"id": "a"\n', "not valid JSON"),
        (b'["a"]\n', "must be a JSON object"),
        (b'{"id": "a", "text": "caf\xe9"}\n', "not valid UTF-8 at byte 25"),
        (b'{"id": "a", "id": "b"}\n', "the key 'id' stands twice"),
        (b'{"id": "a", "metadata": {"x": 1, "x": 2}}\n', "the key 'x' stands twice"),
        (b"[" * 200_000 + b"\n", "not JSON that can be read"),
        (b'{"id": ' + b"9" * 5000 + b"}\n", "not JSON that can be read"),
        (b'{"id": "' + b"x" * byte_lines.MAX_LINE_BYTES + b'"}\n', "longer than 8 MiB"),
    ],
    ids=["cut off", "list", "latin-1", "repeated key", "repeated inner key", "nested", "huge number", "long"],
)
def test_a_line_that_is_no_object_is_named_and_the_rest_goes_on(tmp_path: Path, content: bytes, reason: str) -> None:
    bad, good = read(content + line(), tmp_path)
    assert isinstance(bad, BadRecord)
    assert reason in bad.reason
    assert bad.line == 1
    assert isinstance(good, Passage)
    assert good.line == 2


def test_an_id_that_stands_twice_is_bad_the_second_time(tmp_path: Path) -> None:
    first, bad, third = read(line() + line(text="other") + line(id="b"), tmp_path)
    assert isinstance(first, Passage)
    assert isinstance(bad, BadRecord)
    assert (bad.line, bad.field, bad.document_id) == (2, "id", "a")
    assert "documents.jsonl:1" in bad.reason
    assert isinstance(third, Passage)


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_no_mistakes(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + line().replace(b"\n", b"\r\n") + b"\n  \n" + line(id="b").rstrip()
    records = read(content, tmp_path)
    assert [record.line for record in records] == [1, 4]
    assert all(isinstance(record, Passage) for record in records)


def test_the_fingerprint_is_of_the_content_and_lines_are_counted(tmp_path: Path) -> None:
    path, copy = tmp_path / "documents.jsonl", tmp_path / "copy.jsonl"
    path.write_bytes(line() + line(id="b").rstrip())
    copy.write_bytes(path.read_bytes())
    survey = JsonLinesSource(path, BOTH).summarise()
    assert survey == JsonLinesSource(copy, BOTH).summarise()
    assert survey.expected == 2
    copy.write_bytes(line() + line(id="c").rstrip())
    assert survey.fingerprint != JsonLinesSource(copy, BOTH).summarise().fingerprint


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*nothing\.jsonl: No such file"):
        JsonLinesSource(tmp_path / "nothing.jsonl", BOTH).summarise()
