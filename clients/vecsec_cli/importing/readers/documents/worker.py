"""The process in which documents are read: paths come in on stdin, blocks go out on stdout, a line of JSON each.

What it cannot survive, such as a file that takes more memory than it may have, ends it and not the import.
"""

import gzip
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from shutil import copyfileobj

from vecsec_cli.importing.file_bytes import PACKED_FAULTS
from vecsec_cli.importing.formats import SourceFormat, is_packed
from vecsec_cli.importing.readers.documents.limits import MAX_FILE_BYTES, limit_memory, limit_time
from vecsec_cli.importing.readers.reading import MAX_TEXT_BYTES, NotRead, Reading
from vecsec_client.splitting.blocks import Block


def main() -> None:
    """Read files until stdin ends."""
    limit_memory()
    for line in sys.stdin:
        request = json.loads(line)
        limit_time()
        try:
            for answer in _answers(Path(request["path"]), SourceFormat(request["format"])):
                _tell(answer)
            _tell({"is_whole": True})
        except NotRead as failure:
            _tell({"reason": failure.reason, "detail": failure.detail})
        except MemoryError:
            _tell({"reason": "needs too much memory"})
        except OSError as error:
            _tell({"reason": f"cannot be read: {error.strerror}"})


def _answers(path: Path, file_format: SourceFormat) -> Iterator[dict[str, object]]:
    with _unpacked(path) as plain:
        reading = _read(plain, file_format)
        yield {"title": reading.title}
        characters = 0
        for block in reading.blocks:
            characters += len(block.text)
            if characters > MAX_TEXT_BYTES:
                raise NotRead(f"has more than {MAX_TEXT_BYTES >> 20} MiB of text")
            yield {"block": _values(block)}


def _values(block: Block) -> dict[str, object]:
    return {**asdict(block), "kind": block.kind.name, "parts": [_values(part) for part in block.parts]}


def _read(path: Path, file_format: SourceFormat) -> Reading:
    # Each format's library is loaded by the first file of it.
    match file_format:
        case SourceFormat.PDF:
            from vecsec_cli.importing.readers.documents.pdf import read  # noqa: PLC0415
        case SourceFormat.DOCX:
            from vecsec_cli.importing.readers.documents.word import read  # noqa: PLC0415
        case SourceFormat.PPTX:
            from vecsec_cli.importing.readers.documents.powerpoint import read  # noqa: PLC0415
        case SourceFormat.XLSX:
            from vecsec_cli.importing.readers.documents.excel import read  # noqa: PLC0415
        case _:
            from vecsec_cli.importing.readers.documents.book import read  # noqa: PLC0415
    return read(path)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file; if gzip packed it, a temporary one."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise NotRead(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    if not is_packed(path.name):
        yield path
        return
    with tempfile.NamedTemporaryFile() as plain:
        try:
            with gzip.open(path) as packed:
                copyfileobj(_Limited(packed), plain)
        except PACKED_FAULTS as error:
            raise NotRead("not valid gzip") from error
        plain.flush()
        yield Path(plain.name)


class _Limited:
    """A stream that may not go on for ever."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left = MAX_FILE_BYTES

    def read(self, count: int = -1, /) -> bytes:
        chunk = self._stream.read(count)
        self._left -= len(chunk)
        if self._left < 0:
            raise NotRead(f"larger than {MAX_FILE_BYTES >> 20} MiB when unpacked")
        return chunk


def _tell(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main()
