"""Sources: files, pages or records that come in as passages, all together, and leave so."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vecsec_client.shapes import Table, Value
from vecsec_client.values import AttributeValue, Sensitivity

MOST_PARTS = 256
"""Of how many sources a file may be: so many, one filter takes."""
_ID_BYTES = 512
_PART = re.compile(r"(.+)#part([1-9][0-9]*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePassage(Value):
    """Which passage of which source a document is."""

    source_id: str
    """Unique within its tenant and collection, such as a path."""
    position: int
    """Counted from 1."""
    version: str = ""
    """Such as a hash of the source's content."""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLabel(Value):
    """One of the labels that passages of a source bear."""

    tenant_id: str
    sensitivity: Sensitivity | None
    """None only if the service names a level that this version of the SDK does not know."""
    topics: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    readers: tuple[str, ...] | None = None
    """Who alone may read them; None for all whom the other rules let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Value):
    """A source, as far as the caller may read its passages."""

    source_id: str
    version: str
    """Empty if these passages are of different versions, or of none that was named."""
    title: str
    document_count: int
    """How many of its passages the caller may read."""
    labels: tuple[SourceLabel, ...]
    """Of these passages, 16 at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePage(Table[Source], Value):
    """Some of a collection's sources."""

    ROWS: ClassVar[str] = "sources"

    sources: tuple[Source, ...]
    next_page_token: str
    """Where to go on; empty if this was the last page."""
    policy_version: str = ""
    """The content hash of the policy that checked them."""


def part_id(file: str, part: int) -> str:
    """The source that this part of a file is, counted from 1; most files have one alone."""
    return file if part == 1 else f"{file}#part{part}"


def file_and_part(source_id: str) -> tuple[str, int]:
    """The file that a source is of, and which part."""
    found = _PART.fullmatch(source_id)
    return (source_id, 1) if found is None else (found[1], int(found[2]))


def all_parts(file: str) -> tuple[str, ...]:
    """All sources that a file may be, and no others: a part is itself alone, and none is longer than an id may be."""
    if file_and_part(file)[1] > 1:
        return (file,)
    parts = [part_id(file, part) for part in range(2, MOST_PARTS + 1)]
    return (file, *(part for part in parts if len(part.encode("utf-8", "surrogatepass")) <= _ID_BYTES))
