"""CSV: a document a row; columns that are no field of a document become metadata."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Self

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record, record_of
from vecsec_cli.importing.fields import BadField, checked_metadata
from vecsec_cli.importing.records import SourceError, SourceRecord


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds which field. Sensitivity and topics may be absent: options fill them."""

    id: str = "id"
    text: str = "text"
    sensitivity: str = "sensitivity"
    topics: str = "topics"

    @property
    def names(self) -> tuple[str, ...]:
        """All four."""
        return (self.id, self.text, self.sensitivity, self.topics)

    def is_nearly_of_a_label(self, name: str) -> bool:
        """Whether a name is that of a label's column but for case and blanks, and so would become metadata."""
        label = (self.sensitivity, self.topics)
        return name not in self.names and name.strip().lower() in {each.lower() for each in label}


@dataclass(frozen=True, slots=True)
class CsvSource(byte_lines.FileSource):
    """A CSV file with a header. A row may have several lines."""

    columns: Columns
    defaults: Defaults

    def records(self) -> Iterator[SourceRecord]:
        """One record a row."""
        csv.field_size_limit(byte_lines.MAX_LINE_BYTES)
        with self._opened() as stream:
            lines = _TextLines(stream)
            rows = csv.reader(lines, strict=True)
            header = self._header(next(rows, []))
            while True:
                line = lines.number + 1
                place = SourcePosition(f"{self.name}:{line}", line)
                try:
                    row = next(rows, None)
                except csv.Error as error:
                    yield bad_record(place, f"not valid CSV: {error}")
                    continue
                if row is None:
                    return
                if row:
                    yield self._record(row, header, place)

    def _header(self, header: Sequence[str]) -> Sequence[str]:
        for required, option in ((self.columns.id, "--id-column"), (self.columns.text, "--text-column")):
            if required not in header:
                shown = ", ".join(header) or "none"
                raise SourceError(f"{self.name}: no column {required!r}; columns: {shown}; {option} names another")
        for name in filter(self.columns.is_nearly_of_a_label, header):
            raise SourceError(f"{self.name}: the column {name!r} would become metadata, not a label; rename it")
        if len(set(header)) != len(header):
            raise SourceError(f"{self.name}: two columns have the same name")
        try:
            checked_metadata({name: "" for name in header if name not in self.columns.names})
        except BadField as problem:
            raise SourceError(f"{self.name}: a column becomes metadata, but {problem.reason}; rename it") from problem
        return header

    def _record(self, row: Sequence[str], header: Sequence[str], place: SourcePosition) -> SourceRecord:
        if len(row) != len(header):
            return bad_record(place, f"has {len(row)} cells where the header has {len(header)}")
        try:
            "".join(row).encode()
        except UnicodeEncodeError:
            return bad_record(place, "not valid UTF-8")
        return record_of(self._fields(dict(zip(header, row, strict=True))), place, self.defaults)

    def _fields(self, cells: dict[str, str]) -> dict[str, object]:
        metadata = {name: cell for name, cell in cells.items() if name not in self.columns.names and cell}
        return {
            "id": cells[self.columns.id],
            "text": cells[self.columns.text],
            "sensitivity": cells.get(self.columns.sensitivity) or None,
            "topics": split_topics(cells.get(self.columns.topics, "")) or None,
            "metadata": metadata,
        }


def split_topics(cell: str) -> list[str]:
    """Topics written in one text, separated by commas or semicolons."""
    return [topic.strip() for topic in cell.replace(";", ",").split(",") if topic.strip()]


class _TextLines:
    """Lines as text, for csv.reader.

    Bytes that are not UTF-8 come through as lone surrogates, for the row's check to find: raising inside the decoder
    would end the whole file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = byte_lines.lines(stream)
        self.number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            raise csv.Error(f"a line longer than {byte_lines.MAX_LINE_BYTES >> 20} MiB")
        text = line.decode("utf-8", "surrogateescape")
        return text.removeprefix("\ufeff") if self.number == 1 else text
