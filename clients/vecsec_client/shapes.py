"""What answers have in common: they go to dictionaries and JSON, and those that hold rows are sequences of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, ClassVar, TypeVar, overload

RowT = TypeVar("RowT")
ValueT = TypeVar("ValueT", bound="Value")


class Value:
    """A value whose fields are its content."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, made of what JSON has: sets become sorted lists, times ISO 8601, words their text."""
        shape: dict[str, Any] = _plain(self)
        return shape

    def to_json(self, *, indent: int | None = None) -> str:
        """The same as JSON; `indent` as for `json.dumps`."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)


class Rows(Sequence[RowT]):
    """An answer that is the sequence of its rows: it has a length, is iterated, indexed and sliced. Empty ones are
    false."""

    __slots__ = ()

    ROWS: ClassVar[str]
    """The field that holds them."""

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RowT]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int) -> RowT: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[RowT, ...]: ...

    def __getitem__(self, index: int | slice) -> RowT | tuple[RowT, ...]:
        return self._rows[index]

    @property
    def _rows(self) -> tuple[RowT, ...]:
        rows: tuple[RowT, ...] = getattr(self, self.ROWS)
        return rows


class Table(Rows[ValueT]):
    """An answer whose rows have fields."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows alone, each as `to_dict` gives it: what `pandas.DataFrame` and `csv.DictWriter` take."""
        return [row.to_dict() for row in self]


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, str):
        return str(value)  # of a word its text
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence | AbstractSet):
        return [_plain(each) for each in (value if isinstance(value, Sequence) else sorted(value))]
    return value
