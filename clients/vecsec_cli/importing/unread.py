"""What of a tree was not read: counted by kind and reason, with the first names."""

from collections.abc import Iterator
from dataclasses import dataclass, field

_NAMED = 3
_MOST_ROWS = 200
_OTHER = ("(others)", "further kinds and reasons")


@dataclass(slots=True)
class Unread:
    """Files of one kind that were not read for one reason."""

    kind: str
    """Such as `.png`."""
    reason: str
    is_wanted: bool = False
    """Whether that was asked for."""
    count: int = 0
    names: list[str] = field(default_factory=list)
    """The first of them."""

    @property
    def shown_names(self) -> str:
        """The first names, and that there are more."""
        return ", ".join(self.names) + (", …" if self.count > len(self.names) else "")


class UnreadFiles:
    """All of them, in bounded room."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Unread] = {}

    def add(self, kind: str, reason: str, name: str, *, is_wanted: bool = False) -> None:
        """Count one more file."""
        key = (kind, reason)
        if key not in self._found and len(self._found) >= _MOST_ROWS:
            key = _OTHER
        found = self._found.setdefault(key, Unread(*key, is_wanted=is_wanted))
        found.count += 1
        if len(found.names) < _NAMED:
            found.names.append(name)

    def clear(self) -> None:
        """Begin again."""
        self._found.clear()

    def __iter__(self) -> Iterator[Unread]:
        """The most frequent first."""
        return iter(sorted(self._found.values(), key=lambda each: (-each.count, each.kind, each.reason)))

    @property
    def unwanted_count(self) -> int:
        """How many there are but for those that were left out on purpose."""
        return sum(each.count for each in self._found.values() if not each.is_wanted)
