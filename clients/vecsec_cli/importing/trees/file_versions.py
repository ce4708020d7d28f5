"""Which version of a file its passages are of: what is in it, how it was read, and of how many passages it is.

So an import that is given again needs nothing but the file's hash and what the store tells of its sources: a passage
that was deleted since, or that its caller may not read, shows in the count.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vecsec_cli.importing.records import Passage
from vecsec_client.importing.batches import MAX_BATCH_BYTES, MAX_BATCH_DOCUMENTS, sendable
from vecsec_client.sources import SourcePassage, all_parts, part_id

READING = "1"
"""Another one wherever the same file would be read otherwise than before."""
_TITLE_BYTES = 512
_ROOM_FOR_SOURCE = 2_048
"""What a passage's message grows by when it says of which source it is."""
_VERSION = re.compile(r"([0-9a-f]{32})/([1-9][0-9]*)/([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class FileVersion:
    """What a source that is a file, or a part of a large one, says as its version."""

    digest: str
    """Of content and reading."""
    passages: int
    """How many passages this source has."""
    parts: int
    """Of how many sources the file is."""

    @classmethod
    def parse(cls, version: str) -> "FileVersion | None":
        """The version; None if it is none of a file that was imported."""
        found = _VERSION.fullmatch(version)
        return None if found is None else cls(found[1], int(found[2]), int(found[3]))

    def __str__(self) -> str:
        return f"{self.digest}/{self.passages}/{self.parts}"


def digest_of(content: bytes, *reading: object) -> str:
    """The digest of a file's hash and of how it is read."""
    return hashlib.blake2b(repr((READING, reading)).encode() + content, digest_size=16).hexdigest()


def marked(passages: Sequence[Passage], file: str, digest: str) -> Iterator[Passage]:
    """All passages of a file with what they are passages of: one source, or several of a file that is too large."""
    parts = _in_parts(passages)
    position = 0
    for number, part in enumerate(parts, 1):
        version = str(FileVersion(digest, len(part), len(parts)))
        for passage in part:
            position += 1
            source = SourcePassage(
                source_id=part_id(file, number), position=position, version=version, title=_title_of(passage)
            )
            yield replace(passage, document=replace(passage.document, source=source))


def is_of_known_parts(passages: Sequence[Passage], file: str) -> bool:
    """Whether all passages of a file are found again by what is known of it, its name."""
    sources = {each.document.source.source_id for each in passages if each.document.source is not None}
    return sources <= set(all_parts(file))


def _in_parts(passages: Sequence[Passage]) -> list[list[Passage]]:
    """As few parts as the bounds of a source allow."""
    parts: list[list[Passage]] = [[]]
    size = 0
    for passage in passages:
        more = sendable(passage.document).ByteSize() + _ROOM_FOR_SOURCE
        if parts[-1] and (len(parts[-1]) == MAX_BATCH_DOCUMENTS or size + more > MAX_BATCH_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(passage)
        size += more
    return parts


def _title_of(passage: Passage) -> str:
    """What the file says of itself, as far as a source's title may be long; the same of all its passages."""
    return str(passage.document.metadata.get("title", "")).encode()[:_TITLE_BYTES].decode(errors="ignore")
