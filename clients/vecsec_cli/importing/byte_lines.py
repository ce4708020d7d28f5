"""Lines of a file as bytes, each of bounded length, and the file's fingerprint."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from vecsec_cli.importing.file_bytes import PACKED_FAULTS, opened
from vecsec_cli.importing.records import SourceError, SourceSummary

STANDARD_INPUT = Path("-")
MAX_LINE_BYTES = 8 << 20
"""A line is a document: text of 1 MiB, metadata, an embedding, all escaped, fit well into this."""

_CHUNK_BYTES = 1 << 20


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Number (from 1) and content of each line; None for one that is too long to be held."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line
        else:
            while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
                pass
            yield number, None


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of documents, or standard input as `-`."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name as given."""
        return "stdin" if self.path == STANDARD_INPUT else str(self.path)

    def summarise(self) -> SourceSummary:
        """Hash the file's content and count its lines; standard input can be neither.

        Raises:
            SourceError: if the file cannot be read.
        """
        if self.path == STANDARD_INPUT:
            return SourceSummary(None, None)
        digest = hashlib.blake2b(digest_size=16)
        newlines = 0
        last = b"\n"
        try:
            with self._opened() as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    newlines += chunk.count(b"\n")
                    last = chunk[-1:]
        except PACKED_FAULTS as error:
            raise SourceError(f"cannot read {self.path}: not valid gzip") from error
        return SourceSummary(fingerprint=digest.hexdigest(), expected=newlines + (last != b"\n"))

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        if self.path == STANDARD_INPUT:
            yield sys.stdin.buffer
            return
        try:
            with opened(self.path) as stream:
                yield stream
        except OSError as error:
            raise SourceError(f"cannot read {self.path}: {error.strerror or error}") from error
