"""Recorded decisions, from the audit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.access import Identity
from vecsec_cli.exit_codes import ExitCode
from vecsec_cli.failures import CommandFailure
from vecsec_policy.audit_reading import RecordedDecision, log_files, read_decisions

AuditLogOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--audit-log",
        envvar="VECSEC_AUDIT_FILE",
        help="The newest file of an audit log; rotated ones beside it are read too. May be repeated.",
        show_default=False,
    ),
]


def recorded_decisions(logs: list[Path]) -> Iterator[RecordedDecision]:
    """The decisions of these logs.

    Raises:
        CommandFailure: if a log is not there or cannot be read.
    """
    for log in logs:
        if not log_files(log):
            raise CommandFailure(f"{log}: no audit log is there", exit_code=ExitCode.NOT_FOUND)
        try:
            yield from read_decisions(log)
        except ValueError as error:
            raise CommandFailure(str(error)) from error


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
