"""Sources: what documents are passages of. A source has no record of its own: it is what its passages say of it.

They say it among their metadata, under keys that no caller's metadata can have: a caller's begin with a letter. So a
source lies in every store, snapshot and log as metadata does, and is filtered by as these are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vecsec_chassis.domain.errors import FieldViolation, InvalidRequest
from vecsec_chassis.domain.labels import Label
from vecsec_retrieval.model.rows import Metadata, MetadataValue

_PREFIX = "$"
SOURCE_KEY = "$source"
POSITION_KEY = "$position"
_VERSION_KEY = "$version"
_TITLE_KEY = "$title"


@dataclass(frozen=True, slots=True)
class SourceMark:
    """What all passages of one version of a source have in common."""

    source_id: str
    version: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class SourcePassage:
    """Which passage of which source a document is."""

    mark: SourceMark
    position: int
    """Counted from 1."""


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """A source, as far as somebody sees its passages."""

    mark: SourceMark
    """Version and title are empty where the passages do not agree on them."""
    document_count: int
    labels: tuple[Label, ...]
    """The first of them by their keys."""


def marked(metadata: Metadata, passage: SourcePassage | None) -> Metadata:
    """A caller's metadata with what says of which source the document is a passage."""
    if passage is None:
        return metadata
    mark = passage.mark
    marks: dict[str, MetadataValue] = {SOURCE_KEY: mark.source_id, POSITION_KEY: passage.position}
    marks |= {_VERSION_KEY: mark.version} if mark.version else {}
    marks |= {_TITLE_KEY: mark.title} if mark.title else {}
    return {**metadata, **marks}


def passage_of(metadata: Metadata) -> SourcePassage | None:
    """Of which source a document with this metadata is a passage; None if it is one of none."""
    source_id, position = metadata.get(SOURCE_KEY), metadata.get(POSITION_KEY)
    if not isinstance(source_id, str) or not isinstance(position, int):
        return None
    mark = SourceMark(source_id, str(metadata.get(_VERSION_KEY, "")), str(metadata.get(_TITLE_KEY, "")))
    return SourcePassage(mark, position)


def is_of_caller(key: str) -> bool:
    """Whether a key of a document's metadata is the caller's own."""
    return not key.startswith(_PREFIX)


def agreed(marks: Iterable[SourceMark]) -> SourceMark:
    """What marks of one source have in common."""
    given = list(marks)
    versions, titles = {each.version for each in given}, {each.title for each in given}
    return SourceMark(
        given[0].source_id,
        versions.pop() if len(versions) == 1 else "",
        titles.pop() if len(titles) == 1 else "",
    )


def refuse_torn_sources(passages: Mapping[int, SourcePassage]) -> None:
    """Of a batch that has sources as a whole, by the documents' numbers in it.

    Raises:
        InvalidRequest: naming passages of a source that are of another version or title than its first one, or have
            the position of another passage.
    """
    first: dict[str, SourceMark] = {}
    taken: set[tuple[str, int]] = set()
    violations = []
    for number, passage in passages.items():
        source_id, place = passage.mark.source_id, (passage.mark.source_id, passage.position)
        if first.setdefault(source_id, passage.mark) != passage.mark:
            violations.append(
                FieldViolation(f"documents[{number}].source", f"is of another version or title of {source_id!r}")
            )
        elif place in taken:
            description = f"{passage.position} is the position of another passage of {source_id!r}, too"
            violations.append(FieldViolation(f"documents[{number}].source.position", description))
        taken.add(place)
    if violations:
        raise InvalidRequest(violations)
