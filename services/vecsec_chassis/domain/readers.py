"""Who alone may read a row: the attribute `readers` of its label, a set of names of people and groups."""

from collections.abc import Iterable
from typing import TypeGuard

READERS = "readers"
LONGEST_NAME = 256
"""In characters."""
LONGEST_GROUP_NAME = LONGEST_NAME - len("group:")
_KINDS = ("user:", "group:")


def is_group_name(name: object) -> TypeGuard[str]:
    """Whether a group can be called so: then rows can name it, too."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_GROUP_NAME and name.isprintable()


def fault_of(names: Iterable[str]) -> tuple[int, str] | None:
    """The first name that names nobody, by its number, and what is wrong with it; None if all are well-formed."""
    for number, name in enumerate(names):
        if not name.startswith(_KINDS) or name in _KINDS:
            return number, f"must be user:SUBJECT or group:NAME, not {name[:60]!r}"
        if len(name) > LONGEST_NAME or not name.isprintable():
            return number, f"must be at most {LONGEST_NAME} printable characters, not {name[:60]!r}"
    return None
