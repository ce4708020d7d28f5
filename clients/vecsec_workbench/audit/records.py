"""Where the audit log is, its records as they stand in it, and the decisions that they record."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vecsec_cli.options import state_directory
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.audit.log_files import lines_of, log_files
from vecsec_policy.audit.reading import RecordedDecision, decision_from_line

_KIND = b'"kind":'
"""Stands in every record."""

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "--audit-log",
        envvar="VECSEC_AUDIT_FILE",
        help="The newest file of the log; rotated ones beside it are read too. Default: that of the state directory.",
        show_default=False,
    ),
]
AuditLogOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--audit-log",
        envvar="VECSEC_AUDIT_FILE",
        help="The newest file of an audit log; rotated ones beside it are read too. May be repeated.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record with its place."""

    file: Path
    line: int
    fields: Mapping[str, Any]
    raw: bytes = field(repr=False)
    """The line itself, over which the record's hash is."""

    @property
    def time(self) -> datetime:
        """When it was written."""
        return datetime.fromisoformat(self.fields["time"])


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records are meant; what is None means any."""

    tenant: str | None = None
    """The tenant that was asked for, or the caller's."""
    violation_type: str | None = None
    exact: Mapping[str, str | None] = field(default_factory=dict)
    """What other fields must say, by their names."""
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, record: LoggedRecord) -> bool:
        """Whether a record is meant."""
        fields = record.fields
        if any(wanted is not None and fields.get(name) != wanted for name, wanted in self.exact.items()):
            return False
        if self.tenant is not None and self.tenant not in (fields.get("tenant_id"), fields.get("caller_tenant_id")):
            return False
        if self.violation_type is not None and self.violation_type not in fields.get("violations", ()):
            return False
        return (self.since is None or record.time >= self.since) and (self.until is None or record.time < self.until)


def audit_log(file: Path | None, state_dir: Path | None) -> Path:
    """The newest file of the log that the options name.

    Raises:
        CommandFailure: if there is none.
    """
    path = file or state_directory(state_dir).audit_file
    if not log_files(path):
        raise CommandFailure(
            f"{path}: no audit log is there",
            hint="name its newest file with --file, or the state directory of `vecsec up` with --state-dir",
            exit_code=ExitCode.NOT_FOUND,
        )
    return path


def records(path: Path, wanted: RecordFilter) -> Iterator[LoggedRecord]:
    """The records that are wanted, the oldest first. Lines that are no records are left out: `vecsec audit verify`
    tells about them."""
    for file, number, line in lines_of(path):
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if not isinstance(fields, dict) or not isinstance(fields.get("time"), str):
            continue
        record = LoggedRecord(file, number, fields, line)
        if wanted.matches(record):
            yield record


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that no decision could be read from."""

    place: str
    """`file:line`."""
    reason: str


def recorded_decisions(logs: Sequence[Path]) -> Iterator[RecordedDecision | Unreadable]:
    """The decisions of these logs, the oldest of each log first, and the lines that ought to be decisions but are not.

    Raises:
        CommandFailure: if a log is not there.
    """
    for log in logs:
        if not log_files(log):
            raise CommandFailure(f"{log}: no audit log is there", exit_code=ExitCode.NOT_FOUND)
        for file, number, line in lines_of(log):
            place = f"{file}:{number}"
            try:
                decision = decision_from_line(line)
            except ValueError as error:
                yield Unreadable(place, f"not a record of this version of VecSec ({error})")
                continue
            if decision is not None:
                yield decision
            elif _KIND not in line:
                yield Unreadable(place, "a record of an earlier format, or no record")
