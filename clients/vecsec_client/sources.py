"""Sources: files, pages or records that come in as passages, all together, and leave so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vecsec_client.shapes import Table, Value
from vecsec_client.values import AttributeValue, Sensitivity


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
