"""What `vecsec policy check` found, for people and for programs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_PLACED = re.compile(r"(?P<path>.+?):(?P<line>\d+): (?P<message>.*)", re.DOTALL)


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The policy service would not start with this policy."""
    WARNING = "warning"
    """It would, and the policy does something that hardly anybody wants."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at."""

    severity: Severity
    kind: str
    """A short name that stays the same, such as "unreachable rule"."""
    path: str
    line: int
    """Counted from 1; 0 where it is about the file, or the folder, as a whole."""
    message: str

    @classmethod
    def at(cls, kind: str, place: str, message: str) -> "Finding":
        """A warning at a place that is written as `file:line`, or as a file or folder alone."""
        path, colon, line = place.rpartition(":")
        return (
            cls(Severity.WARNING, kind, path, int(line), message)
            if colon
            else cls(Severity.WARNING, kind, place, 0, message)
        )

    @classmethod
    def from_complaint(cls, complaint: str) -> "Finding":
        """What would keep the policy service from starting, as it would say it."""
        placed = _PLACED.fullmatch(complaint)
        if placed is None:
            path, _, message = complaint.partition(": ")
            return cls(Severity.ERROR, "broken policy", path, 0, message)
        return cls(Severity.ERROR, "broken policy", placed["path"], int(placed["line"]), placed["message"])

    @property
    def place(self) -> str:
        """`file:line`, as editors understand it."""
        return f"{self.path}:{self.line}" if self.line else self.path

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "severity": self.severity.value,
            "kind": self.kind,
            "path": self.path,
            "line": self.line,
            "message": self.message,
        }


def count(findings: Sequence[Finding], severity: Severity) -> int:
    """How many of one severity."""
    return sum(finding.severity is severity for finding in findings)
