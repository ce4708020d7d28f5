"""Lines of a table as text, whatever encoding it is in."""

import codecs
import csv
import io
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from vecsec_cli.importing import byte_lines
from vecsec_cli.importing.readers.text_bytes import encoding_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_LOOKED_AT = 64 << 10


class TextLines:
    """Lines as text, for csv.reader.

    Bytes that are not of the encoding come through as lone surrogates, for the row's check to find: raising inside the
    decoder would end the whole file.
    """

    def __init__(self, stream: BinaryIO, encoding: str | None) -> None:
        start = stream.read(_LOOKED_AT)
        self._encoding = encoding or encoding_of(start)
        replayed = cast("BinaryIO", io.BufferedReader(_Replayed(start, stream)))
        if self._encoding.startswith(("utf-16", "utf-32")):
            replayed = cast("BinaryIO", io.BufferedReader(_Utf8(replayed, self._encoding)))
            self._encoding = "utf-8"
        self._lines = byte_lines.lines(replayed)
        self._first: str | None = None
        self.number = 0

    def first(self) -> str:
        """The first line, which comes again."""
        if self._first is None:
            self._first = next(self, "")
            self.number = 0
        return self._first

    def skip_first(self) -> None:
        """Leave the first line out."""
        self._first = None
        self.number = 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first, self.number = self._first, None, 1
            return first
        self.number, line = next(self._lines)
        if line is None:
            raise csv.Error(f"a line longer than {byte_lines.MAX_LINE_BYTES >> 20} MiB")
        text = line.decode(self._encoding, "surrogateescape")
        return text.removeprefix("\ufeff") if self.number == 1 else text


class _Replayed(io.RawIOBase):
    """A stream from its start again, though its first bytes were read: standard input cannot go back."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        chunk = self._start[: len(view)] if self._start else self._rest.read(len(view))
        self._start = self._start[len(chunk) :]
        view[: len(chunk)] = chunk
        return len(chunk)


class _Utf8(io.RawIOBase):
    """A stream of UTF-16 or UTF-32 as one of UTF-8, in which lines can be told by their bytes."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        while not self._ready:
            chunk = self._stream.read(_LOOKED_AT)
            # What is broken becomes a byte that no UTF-8 has, and so a bad row.
            text = self._decoder.decode(chunk, final=not chunk).replace("\ufffd", "\udcff")
            self._ready = text.encode("utf-8", "surrogateescape")
            if not chunk:
                break
        part, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(part)] = part
        return len(part)
