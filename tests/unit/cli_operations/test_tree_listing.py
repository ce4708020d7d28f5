"""A file is missing where a folder that was listed does not have it, and nowhere else."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from vecsec_cli.importing.documents import Defaults
from vecsec_cli.importing.file_tree import FileOptions, FileTreeSource
from vecsec_cli.importing.trees.listing import TreeListing
from vecsec_cli.importing.trees.pruning import Prune, pruning_of
from vecsec_cli.importing.walking import TreeOptions

STORED = ("top.md", "sub/a.md", "sub/deep/b.md", "other/c.md")


def tree(root: Path, *, exclude: tuple[str, ...] = ()) -> FileTreeSource:
    for name in STORED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("word")
    options = FileOptions(TreeOptions(exclude=exclude))
    return FileTreeSource(root, Defaults("INTERNAL", ("rag",)), options)


def missing(source: FileTreeSource) -> list[str]:
    list(source.records())
    return [file for file in STORED if source.listing.is_missing(file)]


def test_what_a_listed_folder_does_not_have_is_missing(tmp_path: Path) -> None:
    source = tree(tmp_path)
    assert missing(source) == []
    (tmp_path / "top.md").unlink()
    (tmp_path / "sub/deep/b.md").unlink()
    assert missing(source) == ["top.md", "sub/deep/b.md"]
    shutil.rmtree(tmp_path / "sub")
    (tmp_path / "sub").write_text("a file where a folder was")
    assert missing(source) == ["top.md", "sub/a.md", "sub/deep/b.md"]
    source = FileTreeSource(tmp_path, source.defaults)
    assert source.listing.is_missing("sub/a.md") is False, "nothing was listed yet"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT])
def test_below_what_cannot_be_listed_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    source = tree(tmp_path)
    shutil.rmtree(tmp_path / "other")
    (tmp_path / "sub/a.md").unlink()
    scandir = os.scandir

    def failing(path: Path) -> object:
        if Path(path).name == "sub":
            raise OSError(code, os.strerror(code))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert missing(source) == ["other/c.md"]


def test_what_is_left_out_is_not_missing(tmp_path: Path) -> None:
    source = tree(tmp_path, exclude=("sub",))
    shutil.rmtree(tmp_path / "sub/deep")
    assert missing(source) == []


def test_many_are_deleted_only_when_that_was_said() -> None:
    listing = TreeListing()
    listing.add_folder("", ["a.md"])
    for_half = pruning_of(Prune.GONE, listing, ["b.md"], 2)
    assert "the folder has no file at all, and passages of 1 of 2 files" in for_half.refused
    listing.add_file("a.md")
    assert pruning_of(Prune.GONE, listing, ["b.md"], 2).files == ["b.md"]
    refused = pruning_of(Prune.GONE, listing, ["b.md", "c.md"], 3)
    assert (refused.files, "2 of 3 files" in refused.refused) == ((), True)
    assert pruning_of(Prune.ALL_GONE, listing, ["b.md", "c.md"], 3).files == ["b.md", "c.md"]
    assert pruning_of(Prune.NOTHING, listing, ["b.md"], 2).files == ()
