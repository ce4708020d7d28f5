"""The audit record of what a grant that crosses tenants was used for at retrieval, which alone knows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vecsec_chassis.domain.access import Action, Grant
from vecsec_policy.audit.records import timestamp

FOREIGN_ACCESS = "foreign_access"
"""The kind of the record."""


_BYTES_OF_A_RECORD = 4_096


@dataclass(frozen=True, slots=True)
class ReportedUse:
    """What retrieval says of a grant."""

    use_id: str
    """The same where it is said again."""
    grant: str
    calls: int
    rows: int
    """How many rows, or ids of rows, these calls gave, stored or deleted."""
    start: float
    """Seconds since the epoch: when the first of the calls was."""
    end: float


@dataclass(frozen=True, slots=True)
class ForeignUseRecord:
    """One report of one grant. Reports may come twice: then both records have one incident id."""

    time: float
    """Seconds since the epoch: when it was reported."""
    grant: Grant
    use: ReportedUse

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(
            {
                "kind": FOREIGN_ACCESS,
                "time": timestamp(self.time),
                "incident_id": self.use.use_id,
                "subject": self.grant.subject,
                "caller_tenant_id": self.grant.caller_tenant_id,
                "role": self.grant.role,
                "tenant_id": self.grant.tenant_id,
                "action": self.grant.action.value,
                "policy_version": self.grant.policy_version,
                "calls": self.use.calls,
                "rows": self.use.rows,
                "first_time": timestamp(min(self.use.start, self.time)),
                "last_time": timestamp(min(self.use.end, self.time)),
            },
            separators=(",", ":"),
        )

    def weight(self) -> int:
        """How many bytes of memory it takes while it waits, at most."""
        return _BYTES_OF_A_RECORD + len(self.grant.residual)


@dataclass(frozen=True, slots=True)
class RecordedUse:
    """The same, read back."""

    incident_id: str
    subject: str
    caller_tenant_id: str
    role: str
    tenant_id: str
    action: Action
    policy_version: str
    calls: int
    rows: int
    first_time: datetime
    last_time: datetime


def use_from_fields(fields: Mapping[str, Any]) -> RecordedUse:
    """What a record of this kind says.

    Raises:
        ValueError: if parts of it are missing or not what they should be.
    """
    try:
        return RecordedUse(
            incident_id=str(fields["incident_id"]),
            subject=str(fields["subject"]),
            caller_tenant_id=str(fields["caller_tenant_id"]),
            role=str(fields["role"]),
            tenant_id=str(fields["tenant_id"]),
            action=Action(fields["action"]),
            policy_version=str(fields["policy_version"]),
            calls=int(fields["calls"]),
            rows=int(fields["rows"]),
            first_time=datetime.fromisoformat(fields["first_time"]),
            last_time=datetime.fromisoformat(fields["last_time"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
