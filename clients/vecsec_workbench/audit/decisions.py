"""Recorded decisions, from the audit log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.domain.access import Identity
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.audit.log_files import lines_of, log_files
from vecsec_policy.audit.reading import RecordedDecision, decision_from_line

_KIND = b'"kind":'
"""Stands in every record."""

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


def identity_of(decision: RecordedDecision) -> Identity:
    """Who called."""
    return Identity(
        subject=decision.subject,
        tenant_id=decision.caller_tenant_id,
        role=decision.role,
        clearance=decision.claimed_clearance,
        issuer=decision.issuer,
        expires_at=0.0,
    )
