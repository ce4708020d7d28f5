"""From the fields of a line, a row or a file to a passage, with options filling what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass

from vecsec_cli.importing.fields import (
    BadField,
    checked_attributes,
    checked_embedding,
    checked_id,
    checked_metadata,
    checked_readers,
    checked_sensitivity,
    checked_source,
    checked_text,
    checked_topics,
)
from vecsec_cli.importing.records import BadRecord, Passage, SourceRecord
from vecsec_client.results import DocumentInput

KNOWN_FIELDS = ("id", "text", "sensitivity", "topics", "metadata", "attributes", "readers", "embedding", "source")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `--sensitivity`, `--topics` and `--reader` give to documents that lack their own."""

    sensitivity: str | None = None
    topics: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where a record stands."""

    shown: str
    """Such as `notes.jsonl:17`."""
    line: int


def record_of(fields: Mapping[str, object], place: SourcePosition, defaults: Defaults) -> SourceRecord:
    """The passage that these fields make, or what is wrong with them. A field that is null counts as missing,
    but for readers: who they were may have got lost."""
    present = {name: value for name, value in fields.items() if value is not None}
    if "readers" in fields:
        present["readers"] = fields["readers"]
    try:
        return _passage(present, place, defaults)
    except BadField as problem:
        document_id = present.get("id")
        return bad_record(place, problem.reason, field=problem.field, document_id=document_id)


def bad_record(place: SourcePosition, reason: str, *, field: str = "", document_id: object = "") -> BadRecord:
    """A report about one place."""
    shown_id = document_id if isinstance(document_id, str) else ""
    return BadRecord(line=place.line, place=place.shown, document_id=shown_id, field=field, reason=reason)


def _passage(fields: Mapping[str, object], place: SourcePosition, defaults: Defaults) -> Passage:
    for name in fields:
        if name not in KNOWN_FIELDS:
            raise BadField(name, f"unknown key; known: {', '.join(KNOWN_FIELDS)}")
    for name in ("id", "text"):
        if name not in fields:
            raise BadField(name, "is missing")
    sensitivity = fields.get("sensitivity", defaults.sensitivity)
    if sensitivity is None:
        raise BadField("sensitivity", "is missing; --sensitivity fills it")
    topics = fields.get("topics", defaults.topics)
    if "topics" not in fields and not defaults.topics:
        raise BadField("topics", "is missing; --topics fills it")
    document = DocumentInput(
        document_id=checked_id(fields["id"]),
        text=checked_text(fields["text"]),
        sensitivity=checked_sensitivity(sensitivity),
        topics=checked_topics(topics),
        metadata=checked_metadata(fields.get("metadata", {})),
        attributes=checked_attributes(fields.get("attributes", {})),
        readers=checked_readers(fields["readers"]) if "readers" in fields else defaults.readers or None,
        embedding=checked_embedding(fields["embedding"]) if "embedding" in fields else (),
        source=checked_source(fields["source"]) if "source" in fields else None,
    )
    return Passage(line=place.line, place=place.shown, document=document)
