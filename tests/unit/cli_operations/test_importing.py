"""`vecsec import`: what arrives, what is reported, and how a cut-off import goes on."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest
from support.cli_command import Command
from support.fake_gateway import Failure, FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import document_pb2, sensitivity_pb2
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.json_lines import JsonLinesSource
from vecsec_cli.importing.records import SourceSummary
from vecsec_client import Sensitivity

OPTIONS = ("--tenant", "tenant_a", "--sensitivity", "PUBLIC", "--topics", "rag,retrieval")


def write(ids: Iterable[object], folder: Path) -> str:
    path = folder / "documents.jsonl"
    path.write_text("".join(json.dumps({"id": each, "text": f"text {each}"}) + "\n" for each in ids))
    return str(path)


def ids(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def test_documents_arrive_with_what_the_options_say(vecsec: Command, gateway: FakeGateway, tmp_path: Path) -> None:
    result = vecsec.json("import", write(ids(5), tmp_path), *OPTIONS, "--batch-size", "2")
    counts = {"stored": 5, "rejected_count": 0, "skipped": 0, "total": 5, "removed": 0}
    told = {"rejected": [], "staying": {}, "unread": [], "kept_labels": [], "lowered": [], "not_pruned": ""}
    assert result == {**counts, **told}
    assert gateway.batch_sizes == [2, 2, 1]
    assert list(gateway.stored) == ids(5)
    assert list(gateway.stored["d0"].topics) == ["rag", "retrieval"]


def test_bad_lines_are_named_on_stderr_and_the_rest_is_stored(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path
) -> None:
    source = write(["a", "", "b", "a", 7, "c"], tmp_path)
    result = vecsec("import", source, *OPTIONS, exit_code=1)
    assert f"{source}:2: id: must not be empty" in result.stderr
    assert f"{source}:4: id: 'a' already stands at {source}:1" in result.stderr
    assert f"{source}:5: id: must be a text, not 7" in result.stderr
    assert list(gateway.stored) == ["a", "b", "c"]


def test_bad_lines_are_in_the_json_answer_also_when_it_was_imported_before(vecsec: Command, tmp_path: Path) -> None:
    source = write(["a", ""], tmp_path)
    first = vecsec.json("import", source, *OPTIONS, exit_code=1)
    again = vecsec.json("import", source, *OPTIONS, exit_code=1)
    (bad,) = first["rejected"]
    assert bad == {"line": 2, "id": "", "field": "id", "reason": "must not be empty", "place": f"{source}:2"}
    assert (first["stored"], again["stored"], again["skipped"]) == (1, 0, 1)
    assert again["rejected"] == first["rejected"]


def test_many_bad_lines_are_shown_in_part_and_counted_in_full(vecsec: Command, tmp_path: Path) -> None:
    result = vecsec("import", write([""] * 100, tmp_path), *OPTIONS, exit_code=1)
    assert result.stderr.count("must not be empty") == 20
    assert "only counted" in result.stderr
    assert "100 rejected" in result.stdout


def test_strict_stops_at_the_first_bad_line(vecsec: Command, gateway: FakeGateway, tmp_path: Path) -> None:
    source = write(["a", "b", "", "c", ""], tmp_path)
    result = vecsec.json("import", source, *OPTIONS, "--strict", exit_code=1)
    assert [bad["line"] for bad in result["rejected"]] == [3]
    assert list(gateway.stored) == ["a", "b"]


@pytest.mark.parametrize("strict", [False, True])
def test_what_the_services_refuse_is_reported_with_its_line(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path, strict: bool
) -> None:
    def refuse(document: document_pb2.DocumentInput) -> tuple[str, str] | None:
        return ("sensitivity", "above your clearance") if document.document_id in {"b", "d"} else None

    gateway.refusal_of = refuse
    source = write(["a", "", "b", "c", "d"], tmp_path)
    options = (*OPTIONS, "--batch-size", "1", *(["--strict"] if strict else []))
    result = vecsec.json("import", source, *options, exit_code=1)
    found = [(bad["line"], bad["id"], bad["field"]) for bad in result["rejected"]]
    assert found == ([(2, "", "id")] if strict else [(2, "", "id"), (3, "b", "sensitivity"), (5, "d", "sensitivity")])
    assert list(gateway.stored) == (["a"] if strict else ["a", "c"])


def test_strict_stops_where_the_services_refuse(vecsec: Command, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.refusal_of = lambda document: ("topics", "outside your scope") if document.document_id == "b" else None
    source = write(["a", "b", "c"], tmp_path)
    result = vecsec.json("import", source, *OPTIONS, "--strict", "--batch-size", "1", exit_code=1)
    assert [(bad["line"], bad["field"]) for bad in result["rejected"]] == [(2, "topics")]
    assert list(gateway.stored) == ["a"]


@pytest.mark.parametrize("batch_size", ["1", "256"])
@pytest.mark.parametrize(("bad", "strict", "is_told"), [("b", True, True), ("", True, True), ("", False, False)])
def test_an_import_that_left_something_out_says_so(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path, bad: str, strict: bool, is_told: bool, batch_size: str
) -> None:
    gateway.refusal_of = lambda document: ("topics", "outside your scope") if document.document_id == "b" else None
    options = (*OPTIONS, "--batch-size", batch_size, *(["--strict"] if strict else []))
    result = vecsec("import", write(["a", bad, *ids(30)], tmp_path), *options, exit_code=1)
    assert ("nothing behind it was stored" in result.stderr) is is_told
    assert set(gateway.stored) <= ({"a"} if strict else {"a", *ids(30)})


def test_a_denied_import_is_not_said_to_go_on(vecsec: Command, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.failures.extend([Failure(grpc.StatusCode.PERMISSION_DENIED, reason="ACCESS_DENIED")] * 9)
    denied = vecsec("import", write(["a"], tmp_path), *OPTIONS, exit_code=4)
    assert "stopped after 0 documents\n" in denied.stderr


def test_an_import_that_was_cut_off_goes_on_where_it_stopped(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path
) -> None:
    source = write([*ids(3), "", *ids(10)[3:]], tmp_path)
    options = (*OPTIONS, "--batch-size", "2")
    gateway.refusal_of = lambda document: ("", "") if document.document_id == "d4" else None
    gateway.refusal_code = grpc.StatusCode.DATA_LOSS
    broken = vecsec("import", source, *options, exit_code=9)
    assert "stopped after 4 documents; the same command goes on from there" in broken.stderr

    gateway.refusal_of = lambda _document: None
    stored_before = dict(gateway.stored)
    gateway.stored.clear()
    result = vecsec.json("import", source, *options, exit_code=1)
    assert list(stored_before) == ids(4)
    assert list(gateway.stored) == ids(10)[4:]
    assert (result["stored"], result["skipped"], result["total"]) == (6, 4, 11)
    assert [bad["line"] for bad in result["rejected"]] == [4]


def test_what_was_imported_is_not_imported_again_unless_asked_or_erased(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path
) -> None:
    source = write(ids(3), tmp_path)
    vecsec("import", source, *OPTIONS)
    again = vecsec("import", source, *OPTIONS)
    assert "already imported; --restart imports it again" in again.stderr
    assert gateway.streams == 1
    assert vecsec.json("import", source, *OPTIONS, "--restart")["stored"] == 3
    gateway.answers["ListCollections"] = gateway_pb2.ListCollectionsResponse()
    assert vecsec.json("import", source, *OPTIONS)["stored"] == 3


def test_other_options_or_another_content_are_another_import(vecsec: Command, tmp_path: Path) -> None:
    vecsec("import", write(ids(3), tmp_path), *OPTIONS)
    assert vecsec.json("import", write(ids(3), tmp_path), *OPTIONS, "--topics", "other")["stored"] == 3
    assert vecsec.json("import", write(ids(4), tmp_path), *OPTIONS)["stored"] == 4


def test_what_another_import_stored_over_is_not_taken_for_there(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SECRET, PUBLIC, and SECRET again: the last must not be taken for the first."""
    source = write(ids(3), tmp_path)
    monkeypatch.chdir(tmp_path)
    for spelling, sensitivity in ((source, "SECRET"), ("./documents.jsonl", "PUBLIC"), ("documents.jsonl", "SECRET")):
        arguments = ("import", spelling, "--tenant", "tenant_a", "--topics", "rag", "--sensitivity", sensitivity)
        assert vecsec.json(*arguments)["stored"] == 3
        assert vecsec.json(*arguments)["stored"] == 0
    assert {document.sensitivity for document in gateway.stored.values()} == {sensitivity_pb2.SENSITIVITY_SECRET}


def test_standard_input_is_read_once_and_remembered_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.BytesIO(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
    source = JsonLinesSource(Path("-"), Defaults(Sensitivity.PUBLIC, ("rag",)))
    assert source.summarise() == SourceSummary(None, None)
    assert [record.place for record in source.records()] == ["stdin:1", "stdin:2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.jsonl",), "cannot read nothing.jsonl: No such file or directory"),
        (("chroma:x",), "not a collection"),
        (("--topics", "Big Data"), "--topics: 'Big Data' is not a topic"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    vecsec: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    source = () if len(arguments) == 1 else (write(ids(1), tmp_path),)
    result = vecsec("import", *source, *OPTIONS, *arguments, exit_code=2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
