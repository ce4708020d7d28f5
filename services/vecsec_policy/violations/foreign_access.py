"""What callers of other tenants did in a tenant, as the index holds it: from the decisions that let them, and from what
retrieval reported of their grants.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vecsec_chassis.domain.access import Action
from vecsec_policy.audit.foreign_use import RecordedUse
from vecsec_policy.audit.reading import RecordedDecision
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome

TABLES = """
    CREATE TABLE foreign_access (position INTEGER PRIMARY KEY, tenant_id TEXT, kind TEXT, time_ms INTEGER,
        caller_tenant_id TEXT, subject TEXT, role TEXT, action TEXT, calls INTEGER, rows INTEGER,
        incident_id TEXT UNIQUE, policy_version TEXT);
    CREATE INDEX foreign_access_in_order ON foreign_access (tenant_id, position);
"""
_COLUMNS = "position, kind, time_ms, caller_tenant_id, subject, role, action, calls, rows, incident_id, policy_version"
_INSERT = f"INSERT OR IGNORE INTO foreign_access (tenant_id, {_COLUMNS}) VALUES ({', '.join('?' * 12)})"  # noqa: S608
_TENANTS = re.compile(rb'"caller_tenant_id":"([^"]*)".*?"tenant_id":"([^"]*)"')
"""In a record, where quotes inside of values are escaped: nobody can write what looks like it."""


class ForeignKind(StrEnum):
    """What was done."""

    GRANT = "grant"
    """A grant was given."""
    USE = "use"
    """It was used at retrieval."""
    EXPLAIN = "explain"
    COUNT = "count"
    LIST = "list"
    STATUS = "status"


_KIND_OF_CALL = {
    AuditedCall.PLAN: ForeignKind.GRANT,
    AuditedCall.EXPLAIN: ForeignKind.EXPLAIN,
    AuditedCall.COUNT: ForeignKind.COUNT,
    AuditedCall.LIST: ForeignKind.LIST,
    AuditedCall.STATUS: ForeignKind.STATUS,
}
"""Checks are not among them: which rows they were about, retrieval reports."""


@dataclass(frozen=True, slots=True)
class ListedForeignAccess:
    """What a caller of another tenant was let do, or did."""

    position: int
    """Its record's number in the log of this replica."""
    kind: ForeignKind
    time: float
    """Seconds since the epoch; of a use, when the last of its calls was."""
    caller_tenant_id: str
    subject: str
    role: str
    action: Action
    calls: int
    rows: int
    incident_id: str
    policy_version: str


@dataclass(frozen=True, slots=True)
class ForeignAccessFilter:
    """Which are meant."""

    tenant_id: str
    """The tenant in which it was done."""
    start: float | None = None
    """Seconds since the epoch; from then on."""
    end: float | None = None
    """Before then."""


def may_be_foreign(line: bytes) -> bool:
    """Whether a record's line has to be looked at closer."""
    found = _TENANTS.search(line)
    return found is not None and found[1] != found[2]


def take_decision(connection: sqlite3.Connection, decision: RecordedDecision) -> None:
    """Put a decision into the index if it let a caller into another tenant than their own."""
    kind = _KIND_OF_CALL.get(decision.call)
    is_allowed = decision.outcome is AuditedOutcome.ALLOWED and not decision.remembered
    if kind is None or not is_allowed or decision.caller_tenant_id == decision.tenant_id:
        return
    connection.execute(
        _INSERT,
        (
            decision.tenant_id,
            decision.sequence,
            kind.value,
            round(decision.time.timestamp() * 1000),
            decision.caller_tenant_id,
            decision.subject,
            decision.role,
            decision.action.value,
            0 if kind is ForeignKind.GRANT else 1,
            0,
            decision.incident_id,
            decision.policy_version,
        ),
    )


def take_use(connection: sqlite3.Connection, sequence: int, use: RecordedUse) -> None:
    """Put the use of a grant into the index; what was reported twice is there once."""
    connection.execute(
        _INSERT,
        (
            use.tenant_id,
            sequence,
            ForeignKind.USE.value,
            round(use.last_time.timestamp() * 1000),
            use.caller_tenant_id,
            use.subject,
            use.role,
            use.action.value,
            use.calls,
            use.rows,
            use.incident_id,
            use.policy_version,
        ),
    )


def page_of(
    connection: sqlite3.Connection,
    wanted: ForeignAccessFilter,
    *,
    behind: int | None,
    limit: int,
    newest_first: bool,
) -> Sequence[ListedForeignAccess]:
    """Up to `limit` behind a position, in the order of the log or against it.

    Raises:
        sqlite3.Error: if the index cannot be read.
    """
    comparison, direction = ("<", "DESC") if newest_first else (">", "ASC")
    parts, values = ["tenant_id = ?"], list[object]([wanted.tenant_id])
    for bound, condition in ((wanted.start, "time_ms >= ?"), (wanted.end, "time_ms < ?")):
        if bound is not None:
            parts.append(condition)
            values.append(round(bound * 1000))
    if behind is not None:
        parts.append(f"position {comparison} ?")
        values.append(behind)
    condition = " AND ".join(parts)
    query = f"SELECT {_COLUMNS} FROM foreign_access WHERE {condition} ORDER BY position {direction} LIMIT ?"  # noqa: S608
    return [
        ListedForeignAccess(position, ForeignKind(kind), time_ms / 1000, tenant, subject, role, Action(action), *rest)
        for position, kind, time_ms, tenant, subject, role, action, *rest in connection.execute(query, [*values, limit])
    ]


def position_of(connection: sqlite3.Connection, tenant_id: str, incident_id: str) -> int | None:
    """Where one is; None if it is not there any more, or never was."""
    query = "SELECT position FROM foreign_access WHERE incident_id = ? AND tenant_id = ?"
    row = connection.execute(query, (incident_id, tenant_id)).fetchone()
    return None if row is None else int(row[0])
