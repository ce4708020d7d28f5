"""A tenant's documents as a folder: `<collection>.jsonl` files, which `vecsec import` reads, and a manifest."""

import re
from dataclasses import dataclass
from pathlib import Path

from vecsec_cli.tenants.manifest import FORMAT, ArchivedCollection, BadManifest, Manifest
from vecsec_cli.terminal.failures import CommandFailure

MANIFEST = "tenant.json"
NOTHING_USED = "nothing of it was used; take another archive"
_COLLECTION_ID = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""The services know the whole grammar; here nothing may lead out of the folder."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A finished archive."""

    folder: Path
    manifest: Manifest

    @property
    def is_checkable(self) -> bool:
        """Whether its files can be held against what was written."""
        return self.manifest.format == FORMAT

    def file(self, collection: ArchivedCollection) -> Path:
        """The collection's documents."""
        return file_of(self.folder, collection.collection_id)

    @classmethod
    def read(cls, folder: Path) -> "Archive":
        """Read the manifest.

        Raises:
            CommandFailure: if there is none, or it is not as it was written.
        """
        path = folder / MANIFEST
        try:
            return cls(folder, Manifest.from_bytes(path.read_bytes()))
        except FileNotFoundError as error:
            raise CommandFailure(
                f"{folder} is not a finished export: it has no {MANIFEST}", hint="make one with `vecsec tenant export`"
            ) from error
        except OSError as error:
            raise CommandFailure(f"cannot read {path}: {error.strerror}") from error
        except BadManifest as error:
            raise CommandFailure(f"{path} {error}", hint=NOTHING_USED) from error


def file_of(folder: Path, collection_id: str) -> Path:
    """The file of a collection's documents.

    Raises:
        CommandFailure: if that is no id which a file of the folder can be called after.
    """
    if _COLLECTION_ID.fullmatch(str(collection_id)) is None:  # manifests hold anything
        raise CommandFailure(f"{collection_id!r} is no collection's id, so no file of {folder} is called after it")
    return folder / f"{collection_id}.jsonl"
