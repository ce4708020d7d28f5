"""Rows that are imported again: what they were stored as, if they were longer or shorter then, goes first.

A table may have millions of rows and a collection, too. So the store is asked by id, some rows at a time: a row that
was in passages has a first one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from vecsec_cli.importing.records import BadRecord, Passage, SourceRecord
from vecsec_cli.importing.replacing import Collection, held_back
from vecsec_client import NotFound, PermissionDenied

_ROWS_A_CALL = 200
_CHARACTERS_A_CALL = 1 << 20
"""What is held back of a source while the store is asked."""
_PASSAGES_A_STEP = 100


class RowReplacement:
    """Takes away what rows were stored as before."""

    def __init__(self, where: Collection) -> None:
        self._where = where
        self._may_look = True
        self.removed = 0

    def applied_to(
        self, records: Iterable[SourceRecord], on_held_back: Callable[[BadRecord], None]
    ) -> Iterator[SourceRecord]:
        """The same records; before a row comes, what it was stored as and is no more is gone.

        Raises:
            VecSecError: if a service fails.
        """
        for some in _some(groupby(records, key=_row)):
            stale = self._stale([group for group in some if isinstance(group[0], Passage)])
            for group in some:
                row = _row(group[0])[0]
                left = self._remove(stale[row]) if row in stale else 0
                if left:
                    refusal = held_back(group[0], row, left)
                    on_held_back(refusal)
                    yield refusal
                else:
                    yield from group

    def _stale(self, rows: Sequence[Sequence[SourceRecord]]) -> dict[str, list[str]]:
        """The ids that are to go, by row."""
        probes: dict[str, str] = {}
        for group in rows:
            row, parts = _row(group[0])
            probes[f"{row}#{parts + 1}" if parts > 1 else f"{row}#1"] = row
            if parts > 1:
                probes[row] = row
        stale: dict[str, list[str]] = {}
        for probe, row in self._found(probes).items():
            stale.setdefault(row, []).extend([probe] if probe == row else self._from(row, probe))
        return stale

    def _found(self, probes: dict[str, str]) -> dict[str, str]:
        if not self._may_look:
            return {}
        try:
            found = list(self._where.documents(list(probes)))
        except NotFound:
            return {}
        except PermissionDenied:
            self._may_look = False  # who may write and not read cannot have its rows looked after
            return {}
        rows = {each.document_id: (probes[each.document_id], each.metadata.get("part_of")) for each in found}
        return {probe: row for probe, (row, part_of) in rows.items() if row in {probe, part_of}}

    def _from(self, row: str, first: str) -> list[str]:
        """The passages of a row from this one on."""
        number = int(first.rpartition("#")[2])
        found: list[str] = []
        while True:
            wanted = [f"{row}#{each}" for each in range(number, number + _PASSAGES_A_STEP)]
            there = self._where.passages_of(row, wanted)
            found += there
            if len(there) < len(wanted):
                return found
            number += _PASSAGES_A_STEP

    def _remove(self, ids: Sequence[str]) -> int:
        """Delete what is stale; how much had to be left."""
        try:
            self.removed += self._where.delete(ids)
        except PermissionDenied:
            return len(list(self._where.documents(ids)))
        return 0


def _row(record: SourceRecord) -> tuple[str, int]:
    return ("", 0) if isinstance(record, BadRecord) else (record.row or record.document.document_id, record.parts)


def _some(groups: Iterable[tuple[object, Iterator[SourceRecord]]]) -> Iterator[list[list[SourceRecord]]]:
    """Rows with their passages, as many as are looked after at once."""
    some: list[list[SourceRecord]] = []
    characters = 0
    for _, group in groups:
        some.append(list(group))
        characters += sum(len(each.document.text) for each in some[-1] if isinstance(each, Passage))
        if len(some) >= _ROWS_A_CALL or characters >= _CHARACTERS_A_CALL:
            yield some
            some, characters = [], 0
    if some:
        yield some
