"""Changes of files are told once they have come to rest."""

from collections import deque

from vecsec_policy.reload.file_watch import AtRest, Fingerprint


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
