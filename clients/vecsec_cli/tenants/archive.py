"""A tenant's documents as files: a folder with `<collection>.jsonl` files, which `vecsec import` reads, and a manifest.

The manifest is written last: a folder without one was not finished.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from vecsec_cli.local import state_files
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import encoded

MANIFEST = "tenant.json"
_COLLECTION_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""The services know the whole grammar; here nothing may lead out of the folder."""
_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700


@dataclass(slots=True)
class ArchivedCollection:
    """One collection of an archive."""

    collection_id: str
    embedding_model: str
    document_count: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A finished archive."""

    folder: Path
    tenant_id: str
    collections: tuple[ArchivedCollection, ...]

    @property
    def document_count(self) -> int:
        """Of all collections."""
        return sum(each.document_count for each in self.collections)

    def file(self, collection: ArchivedCollection) -> Path:
        """The collection's documents."""
        return _file(self.folder, collection.collection_id)

    @classmethod
    def read(cls, folder: Path) -> "Archive":
        """Read the manifest.

        Raises:
            CommandFailure: if there is none, or it is not one.
        """
        path = folder / MANIFEST
        try:
            fields = json.loads(path.read_text())
            collections = tuple(ArchivedCollection(**each) for each in fields["collections"])
            return cls(folder, fields["tenant_id"], collections)
        except FileNotFoundError as error:
            raise CommandFailure(
                f"{folder} is not a finished export: it has no {MANIFEST}", hint="make one with `vecsec tenant export`"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandFailure(f"{path} cannot be read: {type(error).__name__}: {error}") from error


class ArchiveWriter:
    """Writes an archive; made by `writing_archive`."""

    def __init__(self, folder: Path, tenant_id: str, files: ExitStack) -> None:
        self._folder = folder
        self._tenant_id = tenant_id
        self._files = files
        self._open: dict[str, IO[str]] = {}
        self._collections: dict[str, ArchivedCollection] = {}

    def add(self, collection_id: str, embedding_model: str, document: Mapping[str, object]) -> None:
        """Add a document, as a line of JSON that `vecsec import` takes."""
        if collection_id not in self._open:
            path = _file(self._folder, collection_id)
            path.touch(mode=_PRIVATE_FILE)
            self._open[collection_id] = self._files.enter_context(path.open("w", encoding="utf-8"))
            self._collections[collection_id] = ArchivedCollection(collection_id, embedding_model, 0)
        self._open[collection_id].write(json.dumps(document, ensure_ascii=False, default=encoded) + "\n")
        self._collections[collection_id].document_count += 1

    def finish(self) -> Archive:
        """Everything is there."""
        self._files.close()
        collections = tuple(self._collections[each] for each in sorted(self._collections))
        manifest = {"tenant_id": self._tenant_id, "collections": [asdict(each) for each in collections]}
        state_files.replace(self._folder / MANIFEST, state_files.as_json(manifest), mode=_PRIVATE_FILE)
        return Archive(self._folder, self._tenant_id, collections)


@contextmanager
def writing_archive(folder: Path, tenant_id: str) -> Iterator[ArchiveWriter]:
    """Begin an archive in a new folder, which its owner alone can read: it holds the documents' texts.

    Raises:
        CommandFailure: if something is there already, or the disk refuses.
    """
    try:
        folder.mkdir(parents=True, mode=_PRIVATE_FOLDER)
    except FileExistsError as error:
        raise CommandFailure(f"{folder} exists already", hint="name a new folder; nothing is overwritten") from error
    except OSError as error:
        raise CommandFailure(f"cannot make {folder}: {error.strerror}") from error
    with ExitStack() as files:
        try:
            yield ArchiveWriter(folder, tenant_id, files)
        except OSError as error:
            raise CommandFailure(f"cannot write to {folder}: {error.strerror}") from error


def _file(folder: Path, collection_id: str) -> Path:
    if _COLLECTION_ID.fullmatch(str(collection_id)) is None:  # manifests hold anything
        raise CommandFailure(f"{collection_id!r} is no collection's id, so no file of {folder} is called after it")
    return folder / f"{collection_id}.jsonl"
