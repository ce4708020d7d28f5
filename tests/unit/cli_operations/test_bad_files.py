"""Trees with all in them that breaks importers: named by kind and reason, the rest goes on, memory is bounded."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileOptions, FileTreeSource
from vecsec_cli.importing.formats import SourceFormat
from vecsec_cli.importing.records import BadRecord, Passage, SourceRecord
from vecsec_cli.importing.unread import UnreadFiles
from vecsec_cli.importing.walking import TreeOptions
from vecsec_client import Sensitivity

DEFAULTS = Defaults(Sensitivity.PUBLIC, ("rag",))
SPARSE = 1 << 30


def read(root: Path, **options: object) -> tuple[list[SourceRecord], dict[tuple[str, str], list[str]]]:
    """The records, and the names of what was not read by kind and reason."""
    source = FileTreeSource(root, DEFAULTS, FileOptions(**options))  # type: ignore[arg-type]
    return list(source.records()), {(each.kind, each.reason): each.names for each in source.unread}


def ids(records: list[SourceRecord]) -> list[str]:
    return [each.document.document_id for each in records if isinstance(each, Passage)]


def reasons(records: list[SourceRecord]) -> dict[str, str]:
    return {each.document_id: each.reason for each in records if isinstance(each, BadRecord)}


def test_bad_texts_are_named_with_what_would_help(tmp_path: Path) -> None:
    (tmp_path / "binary.md").write_bytes(bytes(range(256)))
    (tmp_path / "zeros.txt").write_bytes(b"text\0text")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "blank.html").write_text("<p> </p>")
    (tmp_path / "broken.txt.gz").write_bytes(gzip.compress(b"text " * 1000)[:-20])
    (tmp_path / "front.md").write_text("---\n: [\n---\ntext")
    (tmp_path / "good.md").write_text("good")
    records, unread = read(tmp_path)
    assert ids(records) == ["good.md"]
    found = reasons(records)
    assert found.pop("front.md").startswith("its front matter cannot be read: not YAML: ")
    assert found == {
        "binary.md": "is binary, whatever its name says",
        "blank.html": "must not be blank",
        "broken.txt.gz": "not valid gzip",
        "latin.txt": "not valid UTF-8 at byte 4; --encoding says another",
        "zeros.txt": "is binary, whatever its name says",
    }
    assert unread[".txt", "not valid UTF-8"] == ["latin.txt"]
    assert ids(read(tmp_path / "latin.txt", encoding="cp1252")[0]) == ["latin.txt"]


def test_encodings_are_seen_by_their_first_bytes(tmp_path: Path) -> None:
    for name in ("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"):
        (tmp_path / f"{name}.txt").write_bytes("Größe of a text".encode(name))
    records, _ = read(tmp_path)
    assert [each.document.text for each in records if isinstance(each, Passage)] == ["Größe of a text"] * 5


def test_links_hidden_files_and_folders_are_left_out_or_taken_by_option(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / ".hidden.md").write_text("hidden")
    (tree / "a.md").write_text("a")
    (tree / "folder" / "b.md").write_text("b")
    (tree / "folder" / "cycle").symlink_to(tree)
    (tree / "link.md").symlink_to(tree / "a.md")
    (tree / "nowhere.md").symlink_to(tree / "gone.md")
    os.mkfifo(tree / "pipe.md")
    records, unread = read(tree)
    assert ids(records) == ["a.md", "folder/b.md"]
    assert unread == {
        (".md", "hidden; --hidden reads it"): [".hidden.md"],
        (".md", "neither a file nor a folder"): ["pipe.md"],
        ("(link)", "a symbolic link; --symlinks follows it"): ["folder/cycle", "link.md", "nowhere.md"],
    }
    records, unread = read(tree, tree=TreeOptions(hidden=True, symlinks=True))
    assert ids(records) == [".hidden.md", "a.md", "folder/b.md", "link.md"]
    assert unread == {
        (".md", "neither a file nor a folder"): ["pipe.md"],
        ("(link)", "a link to a folder that it lies in"): ["folder/cycle"],
        ("(link)", "leads to nothing"): ["nowhere.md"],
    }


def test_what_has_no_reader_is_named_and_read_if_told_how(tmp_path: Path) -> None:
    for name in ("a.conf", "key", "README", "README.Debian", "changelog.gz", "x.png"):
        content = b"a text"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    records, unread = read(tmp_path)
    assert ids(records) == ["README", "README.Debian", "changelog.gz"]
    assert [kind for kind, _ in unread] == ["(no suffix)", ".conf", ".png"]
    told = {".conf": SourceFormat.TEXT, "": SourceFormat.TEXT}
    records, unread = read(tmp_path, read_as=told, tree=TreeOptions(exclude=("*.png",)))
    assert ids(records) == ["README", "README.Debian", "a.conf", "changelog.gz", "key"]
    assert unread == {(".png", "--exclude"): ["x.png"]}


def test_rows_of_a_tree_are_read_and_the_long_ones_split(tmp_path: Path) -> None:
    long = "A sentence about recall. " * 200
    rows = [{"id": "a", "text": "short"}, {"id": "b", "text": long}, {"id": "c"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "b.json").write_text(json.dumps([{"id": "d", "text": "entry"}, {"id": "e", "text": 7}]))
    (tmp_path / "c.json").write_text('{"name": "package"}')
    (tmp_path / "d.csv").write_text("x;y\n1;2\n")
    (tmp_path / "e.tsv.gz").write_bytes(gzip.compress(b"id\ttext\nf\tpacked\n"))
    records, unread = read(tmp_path)
    assert [each.partition("#")[0] for each in ids(records)] == ["a", "b", "b", "b", "d", "f"]
    assert unread[".jsonl", "read in part: some of its rows are bad"] == ["a.jsonl"]
    assert unread[".json", "read in part: some of its rows are bad"] == ["b.json", "c.json"]
    assert unread[".csv", "no table or list of documents"] == ["d.csv"]


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ('[{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]', 2, ""),
        (" \n[ ]\n", 0, ""),
        ('{"id": "a", "text": "x"}', 1, ""),
        ('[{"id": "a", "text": "x"}, {"id": "b" "text": "y"}]', 1, "not valid JSON"),
        ('[{"id": "a", "text": "x"}] x', 1, "an array is one value"),
        ('[{"id": "a", "text": "x"}', 1, "an array is one value"),
        ("", 0, "not valid JSON"),
        ("[7]", 0, "must be a JSON object"),
        ('[{"id": "a", "text": "' + "x" * (20 << 20) + '"}]', 0, "longer than 8 MiB"),
        ("[" * 100_000, 0, "what follows was not read"),
    ],
    ids=["array", "empty", "one", "bad entry", "more", "cut", "nothing", "number", "long", "deep"],
)
def test_json_is_read_entry_by_entry(tmp_path: Path, text: str, count: int, reason: str) -> None:
    (tmp_path / "a.json").write_text(text)
    records, _ = read(tmp_path / "a.json")
    assert len(ids(records)) == count
    bad = [each.reason for each in records if isinstance(each, BadRecord)]
    assert (bad[0] if bad else "").find(reason) >= 0
    assert bool(bad) is bool(reason)


def test_without_splitting_a_file_and_a_row_are_one_passage(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\n" + "A sentence. " * 1000)
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "b", "text": "A sentence. " * 1000}) + "\n")
    assert ids(read(tmp_path, lengths=None)[0]) == ["a.md", "b"]
    assert len(ids(read(tmp_path)[0])) > 2


def test_the_table_of_what_was_not_read_is_bounded() -> None:
    unread = UnreadFiles()
    for number in range(5000):
        unread.add(f".{number}", "no reader", f"x.{number}")
    assert len(list(unread)) <= 201
    assert unread.unwanted_count == 5000


CHILD = """
import sys
from pathlib import Path
from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.records import BadRecord
from vecsec_client import Sensitivity
source = FileTreeSource(Path(sys.argv[1]), Defaults(Sensitivity.PUBLIC, ("rag",)))
source.summarise()
count = bad = 0
for record in source.records():
    count += 1
    bad += isinstance(record, BadRecord)
# Not ru_maxrss, which begins with what the process was that started this one.
[most] = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(count, bad, int(most) // 1024)
"""


@pytest.mark.slow
def test_memory_is_bounded_whatever_lies_in_the_tree(tmp_path: Path) -> None:
    for name in ("line.md", "line.jsonl"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(SPARSE)  # one line of a GiB
    with gzip.open(tmp_path / "bomb.md.gz", "wb", compresslevel=1) as packed:
        for _ in range(64):
            packed.write(b" " * (1 << 20))
    (tmp_path / "lines.md").write_bytes(b"a\n\n" * (1 << 18))
    (tmp_path / "fence.md").write_bytes(b"```\n" + b"\n" * (2 << 20))
    (tmp_path / "tags.html").write_bytes(b"<p>a" * (1 << 19))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True, timeout=280
    )
    count, bad, mebibytes = map(int, done.stdout.split())
    assert bad >= 3
    assert count > bad
    assert mebibytes <= 300


@pytest.mark.slow
def test_a_hundred_thousand_files_need_no_more_room_than_a_few(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
        for number in range(1000):
            (tmp_path / str(folder) / f"{number}.txt").write_bytes(b"tiny")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True, timeout=280
    )
    count, bad, mebibytes = map(int, done.stdout.split())
    assert (count, bad) == (100_000, 0)
    assert mebibytes <= 150
