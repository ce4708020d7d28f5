"""CSV: a document a row; columns that are no field of a document become metadata."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record, record_of
from vecsec_cli.importing.fields import BadField, checked_metadata, split_readers
from vecsec_cli.importing.records import SourceError, SourceRecord
from vecsec_cli.importing.text_lines import TextLines

_DELIMITERS = (",", ";", "\t", "|")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds which field. Sensitivity, topics and readers may be absent: options fill them."""

    id: str = "id"
    text: str = "text"
    sensitivity: str = "sensitivity"
    topics: str = "topics"
    readers: str = "readers"
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Other names for columns that become metadata."""
    header: tuple[str, ...] = ()
    """The names of the columns of a table that has no header."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.id, self.text, self.sensitivity, self.topics, self.readers)

    def known(self, name: str) -> str:
        """The column of a field that this name means, in any case and with blanks around it; else the name itself."""
        for each in self.names:
            if name == each:
                return each
        shown = name.strip().casefold()
        return next((each for each in self.names if each.casefold() == shown), name)

    def is_nearly_of_a_label(self, name: str) -> bool:
        """Whether a name is that of a label's column but for case and blanks, and so would become metadata."""
        label = (self.sensitivity, self.topics, self.readers)
        return name not in self.names and name.strip().lower() in {each.lower() for each in label}


@dataclass(frozen=True, slots=True)
class CsvSource(byte_lines.FileSource):
    """A table with a header. A row may have several lines."""

    columns: Columns
    defaults: Defaults
    delimiter: str | None = None
    """Found out by the header if None."""
    encoding: str | None = None
    """Found out by the first bytes if None."""

    def records(self) -> Iterator[SourceRecord]:
        """One record a row."""
        csv.field_size_limit(byte_lines.MAX_LINE_BYTES)
        with self._opened() as stream:
            lines = TextLines(stream, self.encoding)
            try:
                rows = csv.reader(lines, strict=True, delimiter=self._delimiter(lines))
                header = self._header(self.columns.header or next(rows, []))
            except csv.Error as error:
                raise SourceError(f"{self.name}: its header is not valid CSV: {error}") from error
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

    def _delimiter(self, lines: "TextLines") -> str:
        """What separates cells: as given, as the first line says (`sep=;`), or what makes the most of the header."""
        first = lines.first()
        if first[:4].lower() == "sep=" and len(first.strip()) == 5:
            lines.skip_first()
            return self.delimiter or first[4]
        return self.delimiter or max(_DELIMITERS, key=lambda each: self._fit(first, each))

    def _fit(self, line: str, delimiter: str) -> tuple[int, int]:
        cells = next(iter(csv.reader([line.rstrip("\r\n")], delimiter=delimiter)), [])
        return sum(self.columns.known(cell) in self.columns.names for cell in cells), len(cells)

    def _header(self, header: Sequence[str]) -> Sequence[str]:
        """The name under which each column's cells are taken: of a field, or a key of metadata."""
        names = [self.columns.known(name) for name in header]
        for required, option in ((self.columns.id, "--id-column"), (self.columns.text, "--text-column")):
            if required not in names:
                shown = ", ".join(header) or "none"
                raise SourceError(
                    f"{self.name}: no column {required!r}; columns: {shown}; {option} names another, and "
                    "--columns all of them where the first line is no header"
                )
        keys = [
            name
            if name in self.columns.names
            else self.columns.renamed.get(name.strip()) or _metadata_key(name, number)
            for number, name in enumerate(names, start=1)
        ]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            shown = " and ".join(repr(name) for name, key in zip(header, keys, strict=True) if key == repeated)
            raise SourceError(
                f"{self.name}: two columns have the same name, {repeated!r}: {shown}; --rename gives one another"
            )
        try:
            checked_metadata({key: "" for key in keys if key not in self.columns.names})
        except BadField as problem:
            raise SourceError(f"{self.name}: a column becomes metadata, but {problem.reason}; --rename it") from problem
        return keys

    def _record(self, row: Sequence[str], header: Sequence[str], place: SourcePosition) -> SourceRecord:
        if len(row) != len(header):
            return bad_record(place, f"has {len(row)} cells where the header has {len(header)}")
        try:
            "".join(row).encode()
        except UnicodeEncodeError:
            return bad_record(place, f"not valid {self.encoding or 'UTF-8'}; --encoding says another")
        return record_of(self._fields(dict(zip(header, row, strict=True))), place, self.defaults)

    def _fields(self, cells: dict[str, str]) -> dict[str, object]:
        metadata = {name: cell for name, cell in cells.items() if name not in self.columns.names and cell}
        # A column that is there says of each row who reads it: an empty cell is refused.
        readers = {"readers": split_readers(cells[self.columns.readers])} if self.columns.readers in cells else {}
        return {
            "id": cells[self.columns.id],
            "text": cells[self.columns.text],
            "sensitivity": cells.get(self.columns.sensitivity) or None,
            "topics": split_topics(cells.get(self.columns.topics, "")) or None,
            "metadata": metadata,
            **readers,
        }


def split_topics(cell: str) -> list[str]:
    """Topics written in one text, separated by commas or semicolons."""
    return [topic.strip() for topic in cell.replace(";", ",").split(",") if topic.strip()]


def _metadata_key(name: str, number: int) -> str:
    """A column's name as a key of metadata: `Created at` becomes `Created_at`, one without a letter `column_7`."""
    key = _NOT_IN_KEYS.sub("_", name.strip()).strip("_")
    if not key:
        return f"column_{number}"
    return key if key[0].isalpha() else f"column_{key}"
