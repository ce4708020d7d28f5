"""The options of `vecsec import` that say how a source is read."""

from pathlib import Path

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_cli.importing.readers.documents import isolated

OPTIONS = ("--tenant", "tenant_a", "--sensitivity", "PUBLIC", "--topics", "rag")


@pytest.fixture(autouse=True)
def _nothing_stored(gateway: FakeGateway) -> None:
    gateway.answers["ListDocumentIds"] = gateway_pb2.ListDocumentIdsResponse()
    gateway.answers["ListSources"] = gateway_pb2.ListSourcesResponse()


def test_a_single_file_is_read_by_its_name_or_as_told(vecsec: Command, gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\ntitle: Notes\n---\ntext")
    (tmp_path / "b.conf").write_text("text of b")
    assert vecsec.json("import", str(tmp_path / "a.md"), *OPTIONS)["stored"] == 1
    assert "--format says it" in vecsec("import", str(tmp_path / "b.conf"), *OPTIONS, exit_code=2).stderr
    assert vecsec.json("import", str(tmp_path / "b.conf"), *OPTIONS, "--format", "text")["stored"] == 1
    assert {key: each.text for key, each in gateway.stored.items()} == {"a.md": "Notes\n\ntext", "b.conf": "text of b"}


def test_size_and_overlap_make_other_passages_and_another_import(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("A sentence of some words. " * 100)
    assert vecsec.json("import", str(source), *OPTIONS)["stored"] == 2
    assert vecsec.json("import", str(source), *OPTIONS, "--passage-size", "500", "--overlap", "0")["stored"] == 6
    assert vecsec.json("import", str(source), *OPTIONS, "--no-split")["stored"] == 1
    assert len(gateway.stored["a.txt"].text) == 2599


def test_columns_and_names_of_a_table_are_taken_from_options(
    vecsec: Command, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes("1;caf\xe9;x\n".encode("cp1252"))
    told = ("--columns", "id,text,by whom", "--rename", "by whom=author", "--encoding", "cp1252")
    assert vecsec.json("import", str(tmp_path / "a.csv"), *OPTIONS, *told)["stored"] == 1
    assert gateway.stored["1"].text == "caf\xe9"
    assert gateway.stored["1"].metadata["author"].string_value == "x"


def test_what_is_left_out_changes_the_exit_status_unless_it_was_asked_for(vecsec: Command, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.md").write_text("text")
    (tree / "b.png").write_bytes(b"")
    result = vecsec.json("import", str(tree), *OPTIONS, exit_code=1)
    reason = "no reader; --read-as names one"
    assert result["unread"] == [{"kind": ".png", "reason": reason, "count": 1, "first": ["b.png"]}]
    again = vecsec("import", str(tree), *OPTIONS, exit_code=1)
    assert "not read: 1 file or folder" in again.stdout, "also where the journal says that all was imported"
    vecsec("import", str(tree), *OPTIONS, "--exclude", "*.png")


def test_a_missing_extra_is_said_with_what_to_do(
    vecsec: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    monkeypatch.setattr(isolated.importlib.util, "find_spec", lambda _name: None)
    result = vecsec("import", str(tmp_path / "a.pdf"), *OPTIONS, exit_code=1)
    assert "a.pdf: needs vecsec[documents], which is not installed" in result.stderr
    assert "documents need an extra: pip install ./clients/vecsec-client '.[documents]'" in result.stderr


def test_vecsecs_own_keys_and_journals_are_never_imported(vecsec: Command, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "grant.key.md").write_text("secret")
    result = vecsec.json("import", str(tmp_path), *OPTIONS, "--hidden", "--symlinks")
    assert [(each["reason"], each["first"]) for each in result["unread"]] == [("VecSec's own state", ["state"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--read-as", "conf=text"), "--read-as takes .SUFFIX=FORMAT, not 'conf=text'; formats: text, markdown"),
        (("--read-as", ".conf=chroma"), "--read-as takes .SUFFIX=FORMAT"),
        (("--rename", "column"), "--rename takes COLUMN=KEY, not 'column'"),
        (("--encoding", "base64"), "--encoding: no such encoding: 'base64'; for example utf-8"),
        (("--encoding", "klingon"), "--encoding: no such encoding: 'klingon'"),
        (("--passage-size", "200", "--overlap", "150"), "the overlap is 0 to half of the size (100), not 150"),
        (("--format", "pdf"), "--read-as SUFFIX=pdf says what its files are"),
    ],
)
def test_options_that_make_no_sense_are_one_line_and_status_2(
    vecsec: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = vecsec("import", str(tmp_path), *OPTIONS, *arguments, exit_code=2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
