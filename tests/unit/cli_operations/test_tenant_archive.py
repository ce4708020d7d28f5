"""A tenant's archive: whole or not there, in its folder whatever it says, refused unless it is as it was written."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vecsec_cli.tenants.archive import MANIFEST, Archive
from vecsec_cli.tenants.archive_check import check_archive
from vecsec_cli.tenants.archive_writing import writing_archive
from vecsec_cli.tenants.manifest import FORMAT
from vecsec_cli.terminal.failures import CommandFailure

LEADING_OUT = ["../outside", "/etc/passwd", "a/b", "..", ".", "", "a.b", None]
SECRET = {"id": "a", "text": "salaries — of all\u2028\x85\r", "sensitivity": "SECRET"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "archive")


def write(folder: Path) -> Path:
    with writing_archive(folder, "tenant_a") as writer:
        writer.add("notes", "model", SECRET)
        writer.add("my-vectors_2", "external", {"id": "b", "text": "b", "embedding": [-0.0, 1e-45]})
        writer.add("notes", "model", {"id": "c", "text": "back in the first file"})
        writer.finish()
    return folder


def refusal(folder: Path) -> str:
    """What is said of an archive, in one line."""
    with pytest.raises(CommandFailure) as failure:
        check_archive(Archive.read(folder))
    assert "\n" not in str(failure.value)
    return str(failure.value)


@pytest.mark.parametrize("collection_id", LEADING_OUT)
def test_no_manifest_leads_out_of_the_folder(tmp_path: Path, collection_id: object) -> None:
    collection = {"collection_id": collection_id, "embedding_model": "", "document_count": 1}
    (tmp_path / MANIFEST).write_text(json.dumps({"tenant_id": "tenant_a", "collections": [collection]}))
    archive = Archive.read(tmp_path)
    with pytest.raises(CommandFailure, match="no collection's id"):
        archive.file(archive.manifest.collections[0])


@pytest.mark.parametrize("collection_id", ["../outside", "/tmp/outside", "a/b"])
def test_no_service_makes_an_export_write_elsewhere(tmp_path: Path, collection_id: str) -> None:
    with pytest.raises(CommandFailure, match="no collection's id"), writing_archive(tmp_path / "new", "a") as writer:
        writer.add(collection_id, "model", {"id": "a"})
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_is_read(folder: Path) -> None:
    archive = Archive.read(folder)
    check_archive(archive)
    assert archive.manifest.document_count == 3
    vectors, notes = archive.manifest.collections
    assert [json.loads(line)["id"] for line in archive.file(notes).read_text().split("\n")[:-1]] == ["a", "c"]
    assert archive.file(vectors).read_text() == '{"id": "b", "text": "b", "embedding": [-0.0, 1e-45]}\n'
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["archive"]


def test_a_manifest_that_is_cut_or_altered_anywhere_is_refused(folder: Path) -> None:
    manifest = folder / MANIFEST
    written = manifest.read_bytes()
    for length in range(len(written)):
        manifest.write_bytes(written[:length])
        assert f"{manifest} is" in refusal(folder)
    for place in range(len(written)):
        for flipped in (0x01, 0x20):
            manifest.write_bytes(written[:place] + bytes([written[place] ^ flipped]) + written[place + 1 :])
            assert str(manifest) in refusal(folder)
    manifest.write_bytes(written + b" ")
    assert "does not agree with its own SHA-256" in refusal(folder)
    manifest.write_bytes(written)
    check_archive(Archive.read(folder))


def test_a_file_that_is_cut_anywhere_is_named(folder: Path) -> None:
    notes = folder / "notes.jsonl"
    written = notes.read_bytes()
    for length in range(len(written)):
        notes.write_bytes(written[:length])
        assert f"{notes} is cut short: {length:,} bytes of {len(written):,}" == refusal(folder)
    notes.write_bytes(written + b"\n")
    assert f"{notes} is longer than it was" in refusal(folder)


def test_a_file_with_one_other_byte_is_named(folder: Path) -> None:
    notes = folder / "notes.jsonl"
    written = notes.read_bytes()
    for place in range(len(written)):
        notes.write_bytes(written[:place] + bytes([written[place] ^ 0x01]) + written[place + 1 :])
        assert f"{notes} was altered or damaged: its SHA-256 is not the one in {MANIFEST}" in refusal(folder)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a label": (
        lambda folder: (folder / "notes.jsonl").write_text(
            (folder / "notes.jsonl").read_text().replace("SECRET", "PUBLIC")
        ),
        "notes.jsonl was altered or damaged",
    ),
    "missing": (lambda folder: (folder / "notes.jsonl").unlink(), "notes.jsonl is missing"),
    "a folder": (
        lambda folder: ((folder / "notes.jsonl").unlink(), (folder / "notes.jsonl").mkdir()),
        "notes.jsonl is not a file",
    ),
    "a link elsewhere": (
        lambda folder: (
            (folder / "notes.jsonl").rename(folder.parent / "elsewhere"),
            (folder / "notes.jsonl").symlink_to("../elsewhere"),
        ),
        "notes.jsonl is not a file",
    ),
    "surplus": (
        lambda folder: (folder / "more.jsonl").write_text("{}\n"),
        "more.jsonl is not of this archive: tenant.json does not name it",
    ),
    "surplus, hidden": (lambda folder: (folder / ".more").write_text(""), ".more is not of this archive"),
    "swapped": (
        lambda folder: (
            (folder / "notes.jsonl").rename(folder / "swap"),
            (folder / "my-vectors_2.jsonl").rename(folder / "notes.jsonl"),
            (folder / "swap").rename(folder / "my-vectors_2.jsonl"),
        ),
        ".jsonl is",
    ),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "is not a finished export: it has no tenant.json"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_it_was_written_is_named(folder: Path, change: str) -> None:
    make, expected = CHANGES[change]
    make(folder)
    assert expected in refusal(folder)


def changed_manifest(folder: Path, **changes: object) -> None:
    fields: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**fields, **changes}, indent=2) + "\n")


def test_a_newer_format_is_told_from_damage(folder: Path) -> None:
    changed_manifest(folder, format=FORMAT + 1, of_later_versions="unknown")
    assert "is of format 3, which a newer version of VecSec wrote; this one reads format 2" in refusal(folder)


def test_an_archive_given_to_another_tenant_by_hand_is_refused(folder: Path) -> None:
    changed_manifest(folder, tenant_id="tenant_b")
    assert "does not agree with its own SHA-256" in refusal(folder)


def test_an_altered_archive_does_not_pass_for_an_old_one(folder: Path) -> None:
    """Nor is one without its format read as if it had been checked."""
    changed_manifest(folder, format=1)
    assert "is not as it was written" in refusal(folder)
    (folder / "my-vectors_2.jsonl").unlink()
    plain = [{"collection_id": "notes", "embedding_model": "model", "document_count": 2}]
    (folder / MANIFEST).write_text(json.dumps({"tenant_id": "tenant_a", "collections": plain}))
    assert not Archive.read(folder).is_checkable
    with pytest.raises(CommandFailure, match="cannot be checked"):
        check_archive(Archive.read(folder))


@pytest.mark.parametrize("there", ["a file", "an empty folder", "a folder", "a link to nothing"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    target = tmp_path / "target"
    if there == "a file":
        target.write_text("kept")
    elif there == "a link to nothing":
        target.symlink_to("nothing")
    else:
        target.mkdir()
        if there == "a folder":
            (target / "kept").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CommandFailure, match="exists already"):
        write(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with (  # noqa: PT012
        pytest.raises(CommandFailure, match="Directory not empty"),
        writing_archive(target, "tenant_a") as writer,
    ):
        writer.add("notes", "model", SECRET)
        target.mkdir()
        (target / "kept").touch()
        writer.finish()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "target"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError()])
def test_what_breaks_off_leaves_nothing(tmp_path: Path, stop: BaseException) -> None:
    expected = CommandFailure if isinstance(stop, OSError) else type(stop)
    with pytest.raises(expected), writing_archive(tmp_path / "new", "tenant_a") as writer:  # noqa: PT012
        writer.add("notes", "model", SECRET)
        assert not (tmp_path / "new").exists()
        raise stop
    assert list(tmp_path.iterdir()) == []


def test_what_was_begun_anew_holds_nothing_of_before(tmp_path: Path) -> None:
    with writing_archive(tmp_path / "new", "tenant_a") as writer:
        writer.add("notes", "model", SECRET)
        writer.add("gone", "model", SECRET)
        before = writer.collections
        writer.start_over()
        assert writer.collections == ()
        writer.add("gone", "model", SECRET)
        writer.add("notes", "model", SECRET)
        assert writer.collections == before
        writer.start_over()
        writer.add("notes", "model", SECRET)
        archive = writer.finish()
    check_archive(archive)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["notes.jsonl", MANIFEST]
