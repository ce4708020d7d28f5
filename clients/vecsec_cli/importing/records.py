"""What a reader yields: passages to store and places where the source is bad."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client.results import DocumentInput


class SourceError(CommandFailure):
    """The source as a whole cannot be read."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A document that passed every check that can be made before sending."""

    line: int
    """Where it stands in its source, from 1: a line, a row, or the file's number in a folder."""
    place: str
    """What to call the place in messages, such as `notes.jsonl:17`."""
    document: DocumentInput
    origin: str = ""
    """The file, by its path below its folder, that it is a passage of; empty if it is none of a file."""
    row: str = ""
    """The row, by its id, that it is a passage of, or all of."""
    parts: int = 1
    """How many passages that row has."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A place in the source that cannot become a document, or that the services refused."""

    line: int
    place: str
    document_id: str
    """Empty where it could not be read."""
    field: str
    """Which field is bad, such as `embedding[3]`; empty where it is the whole line."""
    reason: str

    @classmethod
    def of(cls, passage: Passage, field: str, reason: str) -> "BadRecord":
        """A passage that turned out bad."""
        return cls(passage.line, passage.place, passage.document.document_id, field, reason)

    def __str__(self) -> str:
        subject = f"{self.field}: " if self.field else ""
        return f"{self.place}: {subject}{self.reason}"


SourceRecord = Passage | BadRecord


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What can be said of a source before it is read."""

    fingerprint: str | None
    """A name that changes whenever the content does; None where the source can be read only once."""
    expected: int | None
    """About how many records there are, for a progress bar."""


class Source(Protocol):
    """Something that documents are imported from."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def summarise(self) -> SourceSummary:
        """Look at the source without keeping it in memory.

        Raises:
            SourceError: if it cannot be read.
        """

    def records(self) -> Iterator[SourceRecord]:
        """Read it from the start, in an order that does not change while the fingerprint does not.

        Raises:
            SourceError: if it cannot be read, or not as a whole.
        """
