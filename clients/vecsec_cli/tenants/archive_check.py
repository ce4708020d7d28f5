"""Holds an archive's files against its manifest, all of them before anything of it is used."""

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

from vecsec_cli.tenants.archive import MANIFEST, NOTHING_USED, Archive
from vecsec_cli.tenants.manifest import ArchivedCollection, FileContent
from vecsec_cli.terminal.failures import CommandFailure

_CHUNK_BYTES = 1 << 20


def check_archive(archive: Archive) -> None:
    """See that the files are those that were written: none missing, none more, each byte for byte.

    Raises:
        CommandFailure: naming the first file that is not, and what is wrong with it.
    """
    try:
        for problem in _problems(archive):
            raise CommandFailure(problem, hint=NOTHING_USED)
    except OSError as error:
        raise CommandFailure(f"cannot read {error.filename}: {error.strerror}") from error


def _problems(archive: Archive) -> Iterator[str]:
    """What is wrong, the cheapest to find first."""
    files = {archive.file(each): each for each in archive.manifest.collections}
    if len(files) < len(archive.manifest.collections):
        yield f"{archive.folder / MANIFEST} names a collection twice"
    for path in sorted(archive.folder.iterdir()):
        if path not in files and path.name != MANIFEST:
            yield f"{path} is not of this archive: {MANIFEST} does not name it"
    for path in files:
        if not path.is_symlink() and not path.exists():
            yield f"{path} is missing"
        elif not stat.S_ISREG(path.lstat().st_mode):
            yield f"{path} is not a file"
    for path, collection in files.items():
        yield from _problems_of_file(path, collection)


def _problems_of_file(path: Path, collection: ArchivedCollection) -> Iterator[str]:
    written, size = collection.content, path.stat().st_size
    if written is None:
        yield f"{path} cannot be checked"
    elif size < written.size_bytes:
        yield f"{path} is cut short: {size:,} bytes of {written.size_bytes:,}"
    elif size > written.size_bytes:
        yield f"{path} is longer than it was: {size:,} bytes instead of {written.size_bytes:,}"
    else:
        found, lines = _read(path)
        if found != written:
            yield f"{path} was altered or damaged: its SHA-256 is not the one in {MANIFEST}"
        elif lines != collection.document_count:
            yield f"{path} holds {lines:,} documents, but {MANIFEST} says {collection.document_count:,}"


def _read(path: Path) -> tuple[FileContent, int]:
    """What the file holds, and how many lines."""
    digest = hashlib.sha256()
    size = lines = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    return FileContent(size, digest.hexdigest()), lines
