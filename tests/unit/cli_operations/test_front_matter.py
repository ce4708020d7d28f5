"""Front matter of Markdown files: the label that a file gives itself, and nothing of it in the text."""

from pathlib import Path

import pytest

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileTreeSource
from vecsec_cli.importing.readers.front_matter import BadFrontMatter, split_front_matter
from vecsec_cli.importing.records import BadRecord, Passage, SourceRecord
from vecsec_client import Sensitivity


def read(folder: Path, text: str, name: str = "a.md") -> list[SourceRecord]:
    (folder / name).write_bytes(text.encode())
    return list(FileTreeSource(folder, Defaults(Sensitivity.PUBLIC, ("rag",))).records())


def passage(folder: Path, text: str, name: str = "a.md") -> Passage:
    (record,) = read(folder, text, name)
    assert isinstance(record, Passage), record
    return record


FRONT = """---
title: "Payroll: 2024"
sensitivity: SECRET
topics: [finance, policy]
attributes: {owner: alice, regions: [eu, us]}
metadata: {kind: memo}
date: 2024-01-31
tags: [a, b]
draft: false
weight: 1.5
number: 007
at: 12:30
author:
---
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "before",
    ["", "\ufeff", "\ufeff\ufeff", "\u200b", "\n \n"],
    ids=["nothing", "mark", "two marks", "no width", "blank lines"],
)
def test_a_files_own_label_wins_and_front_matter_is_no_text(tmp_path: Path, before: str, ending: str) -> None:
    document = passage(tmp_path, before + (FRONT + "Salaries of all.\n").replace("\n", ending)).document
    assert (document.sensitivity, document.topics) == (Sensitivity.SECRET, ("finance", "policy"))
    assert document.attributes == {"owner": "alice", "regions": ["eu", "us"]}
    assert document.text == "Payroll: 2024\n\nSalaries of all.", "its title alone is embedded with it"
    assert document.metadata == {
        "title": "Payroll: 2024",
        "kind": "memo",
        "date": "2024-01-31",
        "tags": "a, b",
        "draft": False,
        "weight": 1.5,
        "number": "007",
        "at": "12:30",
        "path": "a.md",
    }


def test_every_passage_of_a_long_file_has_its_label(tmp_path: Path) -> None:
    records = read(tmp_path, FRONT + "\n\n".join(f"# Part {number}\n" + "word " * 300 for number in range(4)))
    assert len(records) == 4
    for record in records:
        assert isinstance(record, Passage)
        assert (record.document.sensitivity, record.document.metadata["title"]) == (Sensitivity.SECRET, "Payroll: 2024")


@pytest.mark.parametrize("word", ["secret", "Secret", "SECRET"])
@pytest.mark.parametrize("key", ["sensitivity", "Sensitivity", "SENSITIVITY"])
def test_neither_key_nor_word_needs_capitals(tmp_path: Path, key: str, word: str) -> None:
    assert passage(tmp_path, f"---\n{key}: {word}\n---\nx").document.sensitivity is Sensitivity.SECRET


@pytest.mark.parametrize("front", ["", "# a comment\n", "title: t\n", "metadata:\n", "topics: rag\n"])
def test_options_fill_what_it_lacks(tmp_path: Path, front: str) -> None:
    document = passage(tmp_path, f"---\n{front}---\nx").document
    assert (document.sensitivity, document.topics) == (Sensitivity.PUBLIC, ("rag",))
    assert document.text.endswith("x")


def test_text_files_have_none(tmp_path: Path) -> None:
    text = "---\nsensitivity: SECRET\n---\nx"
    assert passage(tmp_path, text, "a.txt").document.text == text
    assert passage(tmp_path, "# Heading\n\n---\n\nx", "a.txt").document.text == "# Heading\n\n---\n\nx"


def test_a_rule_further_down_is_text(tmp_path: Path) -> None:
    assert passage(tmp_path, "# Heading\n\n---\n\nsensitivity: x\n\n---").document.text.startswith("# Heading\n\n---")


@pytest.mark.parametrize(
    ("front", "line", "reason"),
    [
        ("title: t\nsensitivity: TOP\n", 3, "sensitivity: unknown sensitivity 'TOP'; known: PUBLIC, INTERNAL"),
        ("topics: [rag, Big Data]\n", 2, "topics[1]: 'Big Data' is not a topic"),
        ("topics: []\n", 2, "topics: must not be empty"),
        ("title: t\nsensitivity:\n", 3, "sensitivity has no value"),
        ("topics: ~\n", 2, "topics has no value"),
        ("Attributes: null\n", 2, "attributes has no value"),
        ("attributes: [owner]\n", 2, "attributes: must be an object"),
        ("title: t\nattributes: {owner: {a: b}}\n", 3, "attributes.owner: must be a text"),
        ("a: 1\nauthor: {name: ann}\n", 3, "metadata.author: must be a text"),
        ("metadata: 0\n", 2, "metadata: must be an object"),
        ("a: b\npath: /etc\n", 3, "metadata.path: says where a passage stands"),
        ("kind: a\nmetadata: {kind: b}\n", 2, "kind stands in metadata, too"),
        ("sensitivity: SECRET\nsensitivity: PUBLIC\n", 3, "the key 'sensitivity' stands twice"),
        ("sensitivity: SECRET\nSensitivity: PUBLIC\n", 3, "sensitivity stands twice"),
        ("a: b\n1: c\n", 3, "a key must be a text"),
        ("a: b\n[c]: d\n", 3, "a key must be a text"),
        ("metadata: {1: c}\n", 2, "a key must be a text"),
        ("title: a: b\n", 2, "not YAML: mapping values are not allowed here"),
        ("a: &all [x, y]\nb: *all\n", 3, "aliases (*name) are not read"),
        ("a: !!python/name:os.system\n", 2, "tags (!name) are not read"),
        ("a: b\nc: !!bool maybe\n", 3, "tags (!name) are not read"),
        ("a: !!int ''\n", 2, "tags (!name) are not read"),
        ("a: !!timestamp x\n", 2, "tags (!name) are not read"),
        ("a: !!map [b]\n", 2, "tags (!name) are not read"),
        ("!!set {a, b}\n", 2, "tags (!name) are not read"),
        ("a: 1\nmetadata.a: 2\nmetadata: {a: 3}\n", 2, "a stands in metadata, too"),
        ("- a\n- b\n", 1, "must be lines of `key: value`"),
        ("just words\n", 1, "must be lines of `key: value`"),
        ("a: \x01\n", 1, "is not YAML that can be read"),
        ("a: " + "9" * 5000 + "\n", 1, "is not YAML that can be read"),
        ("a: " + "x" * 70_000 + "\n", 1, "longer than 64 KiB"),
    ],
)
def test_what_is_no_label_or_no_yaml_is_one_error_of_that_file_by_line(
    tmp_path: Path, front: str, line: int, reason: str
) -> None:
    long = "\n\n".join("word " * 300 for _ in range(4))
    (tmp_path / "z.txt").write_text("the rest goes on")
    bad, rest = read(tmp_path, f"---\n{front}---\n{long}")
    assert isinstance(bad, BadRecord)
    assert str(bad).startswith(f"{tmp_path / 'a.md'}:{line}: ")
    assert reason in str(bad)
    assert isinstance(rest, Passage)


def test_a_deep_nesting_is_an_error_of_the_file(tmp_path: Path) -> None:
    (bad,) = read(tmp_path, "---\na: " + "[" * 20_000 + "\n---\nx")
    assert isinstance(bad, BadRecord)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\nsensitivity: SECRET\n\n# no end", "the front matter has no end"),
        ("---", "the front matter has no end"),
        ("\n---\nsensitivity: SECRET", "the front matter has no end"),
        ("---\rsensitivity: SECRET\r---\rx", "the front matter has no end"),
        ("---\x85sensitivity: SECRET\x85---\x85x", "the front matter has no end"),
        ("---\u2028sensitivity: SECRET\u2028---\u2028x", "the front matter has no end"),
        ("+++\nsensitivity = 'SECRET'\n+++\nx", "in TOML"),
    ],
)
def test_what_cannot_be_told_from_text_is_not_stored_as_text(text: str, reason: str) -> None:
    with pytest.raises(BadFrontMatter, match=reason):
        split_front_matter(text)
