"""JSON: an array of documents, or a single one, read an entry at a time."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.documents import Defaults, SourcePosition, bad_record
from vecsec_cli.importing.file_bytes import PACKED_FAULTS
from vecsec_cli.importing.json_lines import record_of_line
from vecsec_cli.importing.records import SourceRecord

_CHUNK_BYTES = 256 << 10
_BLANK = " \t\r\n"
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class JsonArraySource(byte_lines.FileSource):
    """A `.json` file."""

    defaults: Defaults

    def records(self) -> Iterator[SourceRecord]:
        """One record an entry; behind what is no JSON, nothing can be found any more."""
        number = 0
        with self._opened() as stream:
            try:
                for entry in _Entries(stream):
                    number += 1
                    yield record_of_line(entry.encode("utf-8", "surrogatepass"), self._place(number), self.defaults)
            except UnicodeDecodeError:
                yield bad_record(self._place(number + 1), "not valid UTF-8; what follows was not read")
            except (ValueError, RecursionError) as error:
                yield bad_record(self._place(number + 1), f"{error}; what follows was not read")
            except PACKED_FAULTS:
                yield bad_record(self._place(number + 1), "not valid gzip; what follows was not read")

    def _place(self, number: int) -> SourcePosition:
        return SourcePosition(f"{self.name}, entry {number}", number)


class _Entries:
    """The entries of an array as they are written, or the one value that stands by itself."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._is_whole = False

    def __iter__(self) -> Iterator[str]:
        if self._next_mark() != "[":
            yield self._value()
            self._end("")
            return
        self._text = self._text[1:]
        if self._next_mark() == "]":
            self._end("]")
            return
        while True:
            yield self._value()
            if self._next_mark() != ",":
                self._end("]")
                return
            self._text = self._text[1:]

    def _value(self) -> str:
        """The next value, however much has to be read for it."""
        self._next_mark()
        while True:
            try:
                _, end = _decoder.raw_decode(self._text)
                if end < len(self._text) or self._is_whole:  # a number may go on
                    value, self._text = self._text[:end], self._text[end:]
                    return value
            except json.JSONDecodeError as error:
                if self._is_whole:
                    raise ValueError(f"not valid JSON: {error.msg}") from error
            if len(self._text) > byte_lines.MAX_LINE_BYTES:
                raise ValueError(f"not valid JSON, or an entry longer than {byte_lines.MAX_LINE_BYTES >> 20} MiB")
            self._read(max(_CHUNK_BYTES, len(self._text)))  # twice as much each time: a value is tried in few steps

    def _next_mark(self) -> str:
        """The next character that is not blank; empty at the end."""
        self._text = self._text.lstrip(_BLANK)
        while not self._text and not self._is_whole:
            self._read(_CHUNK_BYTES)
            self._text = self._text.lstrip(_BLANK)
        return self._text[:1]

    def _end(self, mark: str) -> None:
        found = self._next_mark()
        if found == mark:
            self._text = self._text[1:]
            found, mark = self._next_mark(), ""
        if found != mark:
            raise ValueError("not valid JSON: an array is one value, with a comma between its entries")

    def _read(self, count: int) -> None:
        chunk = self._stream.read(count)
        self._is_whole = not chunk
        self._text += self._decoder.decode(chunk, final=not chunk)
