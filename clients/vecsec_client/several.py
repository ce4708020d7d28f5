"""Several values, where one bare text would be taken apart into its letters.

A `str` is a `Sequence[str]` and an `Iterable[str]`, so those types let `topics="rag"` pass for r, a and g.
"""

from collections.abc import Iterator
from typing import Protocol, TypeAlias, TypeVar

ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class Several(Protocol[ItemT_co]):
    """A list, a tuple, a set, the keys of a dictionary. No text: that can be asked for texts alone, not any object."""

    def __contains__(self, value: object, /) -> bool: ...

    def __iter__(self) -> Iterator[ItemT_co]: ...

    def __len__(self) -> int: ...


Texts: TypeAlias = Several[str]


def several(values: Several[ItemT]) -> Several[ItemT]:
    """The same values.

    Raises:
        TypeError: if it is one text, from a caller without a type checker.
    """
    given: object = values  # whatever the type says
    if isinstance(given, str | bytes):
        raise TypeError(f"must be a list, not the one text {given[:80]!r}")
    return values
