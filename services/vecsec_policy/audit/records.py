"""The audit record: one JSON object a line for each decision. It holds labels and ids, never content or tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_chassis.domain.readers import READERS
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_policy.audit.record_bounds import (
    MOST_CALLER_CHARACTERS,
    MOST_ROWS_CHARACTERS,
    bounded_label,
    compact,
    fitting,
    fitting_rows,
    measured,
)
from vecsec_policy.cedar.rules import Verdict

DECISION = "decision"
"""The kind of the records of decisions; the log itself adds records of other kinds."""
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""`json.dumps` would make one for each record, which takes longer than encoding it."""
_BYTES_OF_A_DECISION = 512
_BYTES_OF_A_RECORD = 2_048
"""Of one that waits, without its rows and what a token says beside the usual."""
_MOST_RECORDED_CHARACTERS = 2_048
"""Of the names of a caller's groups."""


class AuditedCall(StrEnum):
    """What was asked of the policy service."""

    PLAN = "plan"
    CHECK = "check"
    EXPLAIN = "explain"
    COUNT = "count"
    STATUS = "status"
    LIST = "list"


class AuditedOutcome(StrEnum):
    """What it answered."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN_TENANT = "unknown_tenant"


@dataclass(frozen=True, slots=True)
class DecidedLabel:
    """The rules' word on rows with one label, with the JSON that records have of it."""

    label: Label
    verdict: Verdict
    _before_count: str
    _behind_count: str

    @classmethod
    def of(cls, label: Label, verdict: Verdict) -> "DecidedLabel":
        """A label decided. Its JSON is most of a record and is made here, for what is remembered is recorded often."""
        text, cut = bounded_label(rule_attributes(label))
        told = "" if cut is None else f',"label_cut":{compact(cut)}'
        reason = "" if verdict.allowed else _reason(verdict)
        return cls(label, verdict, f'{{"label":{text},"row_count":', f"{told}{reason}}}")

    def to_json(self, row_count: int) -> str:
        """What a record says of so many rows."""
        return f"{self._before_count}{row_count}{self._behind_count}"

    def weight(self) -> int:
        """How many bytes of memory it takes, at most, for bounds of caches."""
        return _BYTES_OF_A_DECISION + self.label.weight + len(self._before_count) + len(self._behind_count)


DecidedRows: TypeAlias = tuple[DecidedLabel, int]
"""Rows that share a label, and how many they are."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One decision. `request_id` leads to logs and traces, `incident_id` is what a refused caller may quote."""

    time: float
    """Seconds since the epoch."""
    call: AuditedCall
    outcome: AuditedOutcome
    request_id: str
    incident_id: str
    identity: Identity
    tenant_id: str
    """The tenant that was asked for."""
    action: Action
    policy_version: str
    rule_ids: Sequence[str] = ()
    """The rules that decided whether the caller may enter the tenant."""
    violations: Mapping[ViolationType, int] = field(default_factory=dict)
    """What was counted, and how often."""
    peers: Sequence[str] = ()
    """The machines on the caller's way here, by their certificates; the last one proved it to us."""
    remembered: bool = False
    """Whether a grant that was signed before was given out again."""
    rows: Sequence[DecidedRows] = ()
    """The rows that were allowed or withheld, each label once with their number, for a tenant has few labels. With the
    labels the decision can be made again, under another policy."""
    search_mode: SearchMode | None = None
    """By what a search found the rows that were checked."""

    def to_json(self) -> str:
        """The record as one line of JSON."""
        allowed = [rows for rows in self.rows if rows[0].verdict.allowed]
        withheld = [rows for rows in self.rows if not rows[0].verdict.allowed]
        # What was withheld comes first: it is what people look for.
        withheld_json, withheld_cut = _rows_json(withheld, MOST_ROWS_CHARACTERS)
        allowed_json, allowed_cut = _rows_json(allowed, MOST_ROWS_CHARACTERS - len(withheld_json))
        fields = _ENCODER.encode(
            {
                "kind": DECISION,
                "time": timestamp(self.time),
                "call": self.call.value,
                "outcome": self.outcome.value,
                "request_id": self.request_id,
                "incident_id": self.incident_id,
                "subject": self.identity.subject,
                "issuer": self.identity.issuer,
                **({"actors": self.identity.actors} if self.identity.actors else {}),
                **({"peers": self.peers} if self.peers else {}),
                "caller_tenant_id": self.identity.tenant_id,
                "role": self.identity.role,
                "claimed_clearance": self.identity.clearance.name,
                "tenant_id": self.tenant_id,
                "action": self.action.value,
                "policy_version": self.policy_version,
                "rule_ids": list(self.rule_ids),
                "violations": {violation.value: count for violation, count in self.violations.items()},
                "remembered": self.remembered,
                **({} if self.search_mode is None else {"search_mode": self.search_mode.value}),
                "allowed_count": sum(count for _, count in allowed),
                "withheld_count": sum(count for _, count in withheld),
                **_caller_beyond_role(self.identity, self.rows),
                **({"allowed_left_out": allowed_cut} if allowed_cut else {}),
                **({"withheld_left_out": withheld_cut} if withheld_cut else {}),
            }
        )
        return f'{fields[:-1]},"allowed":[{allowed_json}],"withheld":[{withheld_json}]}}'

    def weight(self) -> int:
        """How many bytes of memory it takes while it waits, at most; what is remembered elsewhere is counted, too."""
        beside = _BYTES_OF_A_RECORD + sum(map(len, self.identity.groups))
        return beside + sum(decided.weight() for decided, _ in self.rows)


class Record(Protocol):
    """What can be written."""

    def to_json(self) -> str:
        """The record as one line of JSON that begins with its kind."""
        ...

    def weight(self) -> int:
        """How many bytes of memory it takes while it waits, at most."""
        ...


def _caller_beyond_role(identity: Identity, rows: Sequence[DecidedRows]) -> dict[str, object]:
    """What the token said of groups and attributes, so that the decision can be made again. Of very many groups a
    record has those that the rows name and the number of the others: it is written for each call."""
    said: dict[str, object] = {}
    if identity.groups:
        groups: Sequence[str] = identity.groups
        if sum(map(len, groups)) > _MOST_RECORDED_CHARACTERS:
            named = {name for decided, _ in rows for name in _readers_of(decided.label)}
            groups = [group for group in groups if f"group:{group}" in named]
            said["caller_groups_left_out"] = len(identity.groups) - len(groups)
        said["caller_groups"] = groups
    if identity.attributes:
        said["caller_attributes"], left_out = fitting(dict(identity.attributes), MOST_CALLER_CHARACTERS)
        if left_out:
            said["caller_attributes_left_out"] = len(left_out)
    return said


def _readers_of(label: Label) -> frozenset[str]:
    readers = dict(label.attributes).get(READERS)
    return readers if isinstance(readers, frozenset) else frozenset()


def timestamp(seconds: float) -> str:
    """A time, in seconds since the epoch, as records have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _rows_json(rows: Sequence[DecidedRows], most_characters: int) -> tuple[str, dict[str, object] | None]:
    """The rows as a record has them, and what to say of those that do not fit."""
    texts = [decided.to_json(count) for decided, count in rows]
    count = fitting_rows(texts, most_characters)
    if count == len(texts):
        return ",".join(texts), None
    row_count = sum(rows_of_label for _, rows_of_label in rows[count:])
    cut = {"label_count": len(rows) - count, "row_count": row_count, **measured(",".join(texts[count:]))}
    return ",".join(texts[:count]), cut


def _reason(verdict: Verdict) -> str:
    violation = verdict.violation.value if verdict.violation is not None else None
    return f',"violation_type":{json.dumps(violation)},"rule_ids":{json.dumps(verdict.rule_ids)}'
