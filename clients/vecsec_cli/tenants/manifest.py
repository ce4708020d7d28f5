"""What an archive says of itself: whose it is, and how its files were written.

The hashes find damage, mistakes and careless hands. Who alters an archive on purpose can write the manifest anew.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 2
"""The first one, of VecSec 0.1, knows no format, sizes or hashes, and cannot be checked."""


class BadManifest(Exception):
    """The manifest cannot be used; the message says why, to be put behind the file's name."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file holds."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArchivedCollection:
    """One collection of an archive."""

    collection_id: str
    embedding_model: str
    document_count: int
    content: FileContent | None
    """Of its file; None in archives of the first format."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A finished archive's."""

    tenant_id: str
    collections: tuple[ArchivedCollection, ...]
    is_of_one_moment: bool
    """False where documents changed while they were written, each of which is whole."""
    format: int = FORMAT

    @property
    def document_count(self) -> int:
        """Of all collections."""
        return sum(each.document_count for each in self.collections)

    def to_bytes(self) -> bytes:
        """The manifest as a file of the present format holds it, with a hash of its own."""
        fields = {
            "format": self.format,
            "tenant_id": self.tenant_id,
            "one_moment": self.is_of_one_moment,
            "collections": [_flat(each) for each in self.collections],
        }
        own = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return (json.dumps({**fields, "sha256": own}, indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Manifest":
        """The manifest that a file holds, byte for byte as it was written.

        Raises:
            BadManifest: if it is none, of a newer format, or not as it was written.
        """
        try:
            fields = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadManifest("is cut short or damaged: it is not valid JSON") from error
        if not isinstance(fields, dict):
            raise BadManifest("is not an archive's manifest")
        number = fields.get("format", 1)
        if not isinstance(number, int):
            raise BadManifest(f"is of no known format: {number!r}")
        if number > FORMAT:
            raise BadManifest(
                f"is of format {number}, which a newer version of VecSec wrote; this one reads format {FORMAT}"
            )
        try:
            manifest = _first_format(fields) if number == 1 else _present_format(fields)
        except (KeyError, TypeError) as error:
            raise BadManifest("is not as it was written: it lacks what a manifest holds") from error
        if number == FORMAT and manifest.to_bytes() != raw:
            raise BadManifest("is not as it was written: it does not agree with its own SHA-256")
        return manifest


def _flat(collection: ArchivedCollection) -> dict[str, object]:
    fields = asdict(collection)
    content = fields.pop("content")
    return {**fields, **content}


def _first_format(fields: Mapping[str, Any]) -> Manifest:
    collections = tuple(ArchivedCollection(**each, content=None) for each in fields["collections"])
    return Manifest(fields["tenant_id"], collections, is_of_one_moment=False, format=1)


def _present_format(fields: Mapping[str, Any]) -> Manifest:
    collections = tuple(
        ArchivedCollection(
            each["collection_id"],
            each["embedding_model"],
            each["document_count"],
            FileContent(each["size_bytes"], each["sha256"]),
        )
        for each in fields["collections"]
    )
    return Manifest(fields["tenant_id"], collections, is_of_one_moment=fields["one_moment"])
