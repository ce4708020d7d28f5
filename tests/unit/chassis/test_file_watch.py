"""Changes of files are told once they have come to rest."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from vecsec_chassis.file_watch import (
    AtRest,
    FileContent,
    Fingerprint,
    file_content,
    files_fingerprint,
    folder_fingerprint,
)


def looks(*names: str) -> deque[Fingerprint]:
    return deque(((name, 0, 0, 0, 0),) for name in names)


async def test_a_change_is_told_once_two_looks_agree() -> None:
    seen = looks("old", "saving", "saving still", "saved", "saved")
    files = AtRest(seen.popleft, rest_seconds=0)
    assert await files.change() is None, "somebody is saving"
    assert await files.change() == (("saved", 0, 0, 0, 0),)
    assert not seen


async def test_what_goes_and_comes_back_while_it_is_looked_at_is_no_change() -> None:
    seen = looks("old", "", "old", "old")
    files = AtRest(seen.popleft, rest_seconds=0)
    assert await files.change() is None
    assert await files.change() is None


async def test_a_change_is_told_again_unless_it_was_the_same_after_it_was_read() -> None:
    seen = looks("old", "new", "new", "newer", "newer", "newer", "newer")
    files = AtRest(seen.popleft, rest_seconds=0)
    change = await files.change()
    assert change is not None
    assert not await files.settle(change)
    change = await files.change()
    assert change == (("newer", 0, 0, 0, 0),)
    assert await files.settle(change)
    assert await files.change() is None


async def test_content_is_known_once_it_was_told() -> None:
    seen = deque(["old", "half", "new", "new", "new", "old", "old"])
    files = AtRest(seen.popleft, rest_seconds=0)
    assert [await files.changed_content() for _ in range(4)] == [None, "new", None, "old"]


def swap(link: Path, target: str) -> None:
    following = link.with_name("following")
    following.symlink_to(target)
    following.replace(link)


LOOKS: dict[str, Callable[[Path], object]] = {
    "content": file_content,
    "file": lambda file: files_fingerprint([file]),
    "folder": lambda file: folder_fingerprint(file.parent, (".yaml",)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_every_way_to_replace_a_file_is_seen(look: Callable[[Path], object], tmp_path: Path) -> None:
    for version, content in (("first", "one"), ("second", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(content)
    os.utime(tmp_path / "second" / "a.yaml", (0, 0))
    folder = tmp_path / "folder"
    folder.symlink_to("first")
    file = folder / "a.yaml"
    seen = [look(file)]
    swap(folder, "second")
    seen.append(look(file))
    (tmp_path / "second").rename(tmp_path / "away")
    seen.append(look(file))
    swap(folder, "first")
    assert look(file) == seen[0]
    assert len(set(seen)) == 3, "another folder, no folder"
    file.write_text("six")
    os.utime(file, (0, 0))
    assert look(file) not in seen, "of the same size, and older"


def test_a_file_that_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    assert file_content(tmp_path / "absent") == FileContent()
    assert file_content(tmp_path).problem is not None
