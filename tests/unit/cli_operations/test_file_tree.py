"""A folder of files: a document a file, long ones in passages."""

from pathlib import Path

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.records import BadRecord, Passage
from vecsec_client import Sensitivity

DEFAULTS = Defaults(Sensitivity.PUBLIC, ("rag",))


def write(folder: Path, **files: str | bytes) -> FileTreeSource:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FileTreeSource(folder, DEFAULTS)


def test_each_text_file_is_a_document_with_its_path_as_id(tmp_path: Path) -> None:
    source = write(tmp_path, b__two_md="# two", a_txt="one", c_png="no", __hidden__d_txt="no")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "e.txt").write_text("no")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "hidden" / "d.txt").unlink(missing_ok=True)
    found = {record.document.document_id: record for record in source.records() if isinstance(record, Passage)}
    assert sorted(found) == ["a.txt", "b/two.md"]
    assert found["b/two.md"].document.metadata == {"path": "b/two.md"}
    assert {(each.kind, each.count, tuple(each.names)) for each in source.unread} == {
        (".png", 1, ("c.png",)),
        ("(folder)", 1, (".hidden",)),
        ("(link)", 1, ("link.txt",)),
    }


def test_a_long_file_becomes_passages_at_its_headings(tmp_path: Path) -> None:
    sections = [f"# Section {number}\n\n" + f"Sentence {number}. " * 80 for number in range(4)]
    records = list(write(tmp_path, long_md="\n\n".join(sections)).records())
    documents = [record.document for record in records if isinstance(record, Passage)]
    assert [document.document_id for document in documents] == [f"long.md#{number}" for number in range(1, 5)]
    assert all(document.text.startswith(f"# Section {number}") for number, document in enumerate(documents))
    assert documents[2].metadata == {"path": "long.md", "passage": 3}


def test_bad_files_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    blank, latin, good = write(tmp_path, a_txt=" \n", b_txt=b"caf\xe9", c_txt="fine").records()
    assert isinstance(blank, BadRecord)
    assert (blank.document_id, blank.field, blank.place) == ("a.txt", "text", str(tmp_path / "a.txt"))
    assert isinstance(latin, BadRecord)
    assert "not valid UTF-8 at byte 4" in latin.reason
    assert isinstance(good, Passage)


def test_the_fingerprint_is_of_names_and_content(tmp_path: Path) -> None:
    source = write(tmp_path, a_txt="one", b_txt="two")
    survey = source.summarise()
    assert survey.expected == 2
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    renamed = source.summarise()
    (tmp_path / "c.txt").write_text("three")
    assert len({survey.fingerprint, renamed.fingerprint, source.summarise().fingerprint}) == 3
