"""JSON Lines: a document a line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record, record_of
from vecsec_cli.importing.records import SourceRecord

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _RepeatedKey(ValueError):
    """A key stands twice in one object; whichever was meant, the other would be lost silently."""


@dataclass(frozen=True, slots=True)
class JsonLinesSource(byte_lines.FileSource):
    """A `.jsonl` file."""

    defaults: Defaults

    def records(self) -> Iterator[SourceRecord]:
        """One record a line that is not blank."""
        with self._opened() as stream:
            for number, line in byte_lines.lines(stream):
                place = SourcePosition(f"{self.name}:{number}", number)
                if line is None:
                    yield bad_record(place, f"longer than {byte_lines.MAX_LINE_BYTES >> 20} MiB")
                elif line.strip():
                    yield record_of_line(
                        line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line, place, self.defaults
                    )


def record_of_line(line: bytes, place: SourcePosition, defaults: Defaults) -> SourceRecord:
    """The record that one line of JSON makes."""
    try:
        fields = json.loads(line.decode(), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        return bad_record(place, f"not valid UTF-8 at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        return bad_record(place, f"not valid JSON: {error.msg} at column {error.colno}")
    except _RepeatedKey as error:
        return bad_record(place, str(error))
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets nested thousands deep
        return bad_record(place, "not JSON that can be read")
    if not isinstance(fields, dict):
        return bad_record(place, "must be a JSON object")
    return record_of(fields, place, defaults)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _RepeatedKey(f"the key {repeated!r} stands twice")
    return fields
