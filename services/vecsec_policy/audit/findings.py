"""What the verification of an audit log may find."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Tampering(StrEnum):
    """What is wrong with a log."""

    ALTERED = "altered"
    """A record is not what it was when it was written."""
    REMOVED = "removed"
    """Records are missing."""
    MOVED = "moved"
    """A record stands in another place than it was written to."""
    INSERTED = "inserted"
    """A record, or a line that is none, was put in."""
    HEAD_MISSING = "head_missing"
    """A head that was noted elsewhere is not in the log: its newest records were removed, or it was written anew."""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A line of a log."""

    file: Path
    line: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong."""

    kind: Tampering
    place: LogPosition | None
    """Where it shows; None where it is the log as a whole."""
    sequence: int | None
    """Of the record, or of the first one that is missing; None for what is no record."""
    description: str


@dataclass(frozen=True, slots=True)
class AuditNote:
    """Something that an auditor should know and that is no tampering."""

    place: LogPosition | None
    description: str


def removed(place: LogPosition, first: int, last: int) -> AuditFinding:
    """Records are missing before a place."""
    what = f"record {first} is" if first == last else f"records {first} to {last} are"
    return AuditFinding(Tampering.REMOVED, place, first, f"{what} missing before this line")


def inserted(place: LogPosition, sequence: int | None) -> AuditFinding:
    """A line does not belong to the log."""
    what = "a line that is no record" if sequence is None else f"a record that calls itself {sequence}"
    return AuditFinding(Tampering.INSERTED, place, sequence, f"{what} was put in here")


def moved(place: LogPosition, sequence: int) -> AuditFinding:
    """A genuine record stands elsewhere."""
    return AuditFinding(Tampering.MOVED, place, sequence, f"record {sequence} is not where it was written")


def altered(place: LogPosition, sequence: int) -> AuditFinding:
    """A record does not have its own hash."""
    return AuditFinding(
        Tampering.ALTERED, place, sequence, f"record {sequence} is not what was written: its hash differs"
    )


def rehashed(place: LogPosition, sequence: int) -> AuditFinding:
    """A record has a right hash, but the next one follows another."""
    description = f"record {sequence} is not the one that the next one follows: it was altered and its hash made anew"
    return AuditFinding(Tampering.ALTERED, place, sequence, description)


def torn_lines_gone(place: LogPosition, sequence: int) -> AuditFinding:
    """What a crash left is not there as the record after it says."""
    description = f"the torn lines that record {sequence} speaks of are not before it as they were"
    return AuditFinding(Tampering.ALTERED, place, sequence, description)


def head_missing(head: str) -> AuditFinding:
    """A head that was noted elsewhere is not in the log."""
    description = f"no record has the hash {head}: the newest records were removed, or the log was written anew"
    return AuditFinding(Tampering.HEAD_MISSING, None, None, description)
