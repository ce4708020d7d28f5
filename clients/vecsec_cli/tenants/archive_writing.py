"""Writes an archive aside: only when all of it is on the disk, the folder gets its name."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vecsec_cli.local import state_files
from vecsec_cli.tenants.archive import MANIFEST, Archive, file_of
from vecsec_cli.tenants.manifest import ArchivedCollection, FileContent, Manifest
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import encoded

if TYPE_CHECKING:
    from hashlib import _Hash

_PRIVATE_FILE = 0o600


@dataclass(slots=True)
class _Part:
    """One collection's file, as far as it is written."""

    embedding_model: str
    document_count: int = 0
    size_bytes: int = 0
    digest: "_Hash" = field(default_factory=hashlib.sha256)


class ArchiveWriter:
    """Writes an archive; made by `writing_archive`. One file is open at a time, however many collections there are."""

    def __init__(self, folder: Path, tenant_id: str, unfinished: Path) -> None:
        self._folder = folder
        self._tenant_id = tenant_id
        self._unfinished = unfinished
        self._parts: dict[str, _Part] = {}
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        """Of the file that is open."""

    @property
    def collections(self) -> tuple[ArchivedCollection, ...]:
        """What is written."""
        return tuple(
            ArchivedCollection(
                collection_id,
                part.embedding_model,
                part.document_count,
                FileContent(part.size_bytes, part.digest.hexdigest()),
            )
            for collection_id, part in sorted(self._parts.items())
        )

    def add(self, collection_id: str, embedding_model: str, document: Mapping[str, object]) -> None:
        """Add a document, as a line of JSON that `vecsec import` takes."""
        file = self._opened(file_of(self._unfinished, collection_id))
        part = self._parts.setdefault(collection_id, _Part(embedding_model))
        line = (json.dumps(document, ensure_ascii=False, default=encoded) + "\n").encode()
        file.write(line)
        part.digest.update(line)
        part.size_bytes += len(line)
        part.document_count += 1

    def start_over(self) -> None:
        """Forget what was written."""
        self.close()
        for collection_id in self._parts:
            file_of(self._unfinished, collection_id).unlink()
        self._parts.clear()

    def finish(self, *, is_of_one_moment: bool = True) -> Archive:
        """Everything is there: have it on the disk, and under its name."""
        self.close()
        for collection_id in self._parts:
            _sync(file_of(self._unfinished, collection_id))
        manifest = Manifest(self._tenant_id, self.collections, is_of_one_moment)
        state_files.replace(self._unfinished / MANIFEST, manifest.to_bytes(), mode=_PRIVATE_FILE)
        _sync(self._unfinished)
        self._unfinished.rename(self._folder)  # an empty folder that was made meanwhile is all that this replaces
        _sync(self._folder.parent)
        return Archive(self._folder, manifest)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        self._file = self._path = None

    def _opened(self, path: Path) -> IO[bytes]:
        if self._file is None or path != self._path:
            self.close()
            path.touch(mode=_PRIVATE_FILE)
            self._file, self._path = path.open("ab"), path
        return self._file


@contextmanager
def writing_archive(folder: Path, tenant_id: str) -> Iterator[ArchiveWriter]:
    """Begin an archive, which its owner alone can read: it holds the documents' texts. It is written beside the new
    folder, as `.FOLDER.unfinished-…`; nothing is left of it if it is not finished, unless the process is killed.

    Raises:
        CommandFailure: if something is there already, or the disk refuses.
    """
    if os.path.lexists(folder):
        raise CommandFailure(f"{folder} exists already", hint="name a new folder; nothing is overwritten")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.unfinished-"))
    except OSError as error:
        raise CommandFailure(f"cannot make {folder}: {error.strerror}") from error
    writer = ArchiveWriter(folder, tenant_id, unfinished)
    try:
        yield writer
    except OSError as error:
        raise CommandFailure(f"cannot write to {folder}: {error.strerror}") from error
    finally:
        writer.close()
        shutil.rmtree(unfinished, ignore_errors=True)  # once it is finished, it has another name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
