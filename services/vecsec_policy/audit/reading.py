"""Reads the audit log back: the decisions in it as values. Needs no service."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vecsec_chassis.domain.access import Action, AttributeValue, ViolationType
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.audit.records import DECISION, AuditedCall, AuditedOutcome

_CUT = "label_cut"
"""Stands beside a label that is not whole: nothing can be decided by it again."""


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """What was decided on the rows of one label."""

    label: Label
    row_count: int
    allowed: bool
    violation: ViolationType | None = None
    rule_ids: tuple[str, ...] = ()
    """The rules that withheld the rows; empty for rows that were allowed."""


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """One decision, as `vecsec_policy.audit.records.AuditRecord` wrote it."""

    sequence: int
    """Its number in the log, from 1."""
    time: datetime
    call: AuditedCall
    outcome: AuditedOutcome
    request_id: str
    incident_id: str
    subject: str
    issuer: str
    actors: tuple[str, ...]
    """Who acted in the caller's name, the latest first."""
    peers: tuple[str, ...]
    """The machines on the caller's way, by their certificates."""
    caller_tenant_id: str
    role: str
    claimed_clearance: Sensitivity
    tenant_id: str
    """The tenant that was asked for."""
    action: Action
    policy_version: str
    rule_ids: tuple[str, ...]
    """The rules that decided whether the caller may enter the tenant."""
    violations: Mapping[ViolationType, int]
    remembered: bool
    rows: Sequence[RecordedRows]
    """What a check or an explanation decided, once a label."""
    groups: tuple[str, ...] = ()
    """Those that the token gave, but for `groups_left_out` that no row names."""
    groups_left_out: int = 0
    attributes: tuple[tuple[str, AttributeValue], ...] = ()
    """What else the token gave."""
    rows_left_out: int = 0
    """How many rows more there were, whose labels were too large for the record."""
    search_mode: str = ""
    """By what a search found the rows of a check, such as "hybrid"."""


def decision_from_line(line: bytes) -> RecordedDecision | None:
    """The decision that a line records; None for other records and for lines that are no JSON object.

    Raises:
        ValueError: if it is the record of a decision, but parts of it are missing or not what they should be.
    """
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("kind") != DECISION:
        return None
    try:
        return _decision(fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _decision(fields: Mapping[str, Any]) -> RecordedDecision:
    return RecordedDecision(
        sequence=fields["sequence"],
        time=datetime.fromisoformat(fields["time"]),
        call=AuditedCall(fields["call"]),
        outcome=AuditedOutcome(fields["outcome"]),
        request_id=fields["request_id"],
        incident_id=fields["incident_id"],
        subject=fields["subject"],
        issuer=fields["issuer"],
        actors=tuple(fields.get("actors", ())),
        peers=tuple(fields.get("peers", ())),
        caller_tenant_id=fields["caller_tenant_id"],
        role=fields["role"],
        claimed_clearance=Sensitivity[fields["claimed_clearance"]],
        tenant_id=fields["tenant_id"],
        action=Action(fields["action"]),
        policy_version=fields["policy_version"],
        rule_ids=tuple(fields["rule_ids"]),
        violations={ViolationType(name): int(count) for name, count in fields["violations"].items()},
        remembered=fields["remembered"],
        rows=(
            *(_rows(entry, allowed=True) for entry in fields["allowed"] if _CUT not in entry),
            *(_rows(entry, allowed=False) for entry in fields["withheld"] if _CUT not in entry),
        ),
        rows_left_out=sum(_left_out(fields, which) for which in ("allowed", "withheld")),
        search_mode=str(fields.get("search_mode", "")),
        groups=tuple(fields.get("caller_groups", ())),
        groups_left_out=int(fields.get("caller_groups_left_out", 0)),
        attributes=tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in sorted(fields.get("caller_attributes", {}).items())
        ),
    )


def _left_out(fields: Mapping[str, Any], which: str) -> int:
    cut = sum(int(entry["row_count"]) for entry in fields[which] if _CUT in entry)
    return cut + int(fields.get(f"{which}_left_out", {}).get("row_count", 0))


def _rows(entry: Mapping[str, Any], *, allowed: bool) -> RecordedRows:
    violation = entry.get("violation_type")
    return RecordedRows(
        label=Label.from_json(json.dumps(entry["label"])),
        row_count=int(entry["row_count"]),
        allowed=allowed,
        violation=None if violation is None else ViolationType(violation),
        rule_ids=tuple(entry.get("rule_ids", ())),
    )
