"""A file's bytes as they are meant: unpacked if gzip packed it, and never more than a limit."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from vecsec_cli.importing.formats import is_packed
from vecsec_cli.importing.readers.reading import MAX_TEXT_BYTES, NotRead

PACKED_FAULTS = (gzip.BadGzipFile, EOFError, zlib.error)
"""What reading a damaged gzip file raises."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open to be read.

    Raises:
        OSError: if it cannot be opened.
    """
    with path.open("rb") as raw:
        if is_packed(path.name):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield raw


def content_of(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """All of a file.

    Raises:
        NotRead: if it is larger, damaged, or cannot be read.
    """
    try:
        with opened(path) as stream:
            content = stream.read(limit + 1)
    except PACKED_FAULTS as error:
        raise NotRead("not valid gzip") from error
    except OSError as error:
        raise NotRead(f"cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise NotRead(f"larger than {limit >> 20} MiB" + (" when unpacked" if is_packed(path.name) else ""))
    return content
