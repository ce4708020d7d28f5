"""The audit record: one JSON object a line for each decision. It holds labels and ids, never content or tokens."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from cachetools import LRUCache, cached

from vecsec_chassis.access import Action, Identity, ViolationType
from vecsec_chassis.cache_metrics import CacheUse
from vecsec_chassis.calls import current_request_id
from vecsec_chassis.errors import AuditUnavailable
from vecsec_chassis.labels import Label, rule_attributes
from vecsec_chassis.unique_ids import unique_id
from vecsec_policy.rules import Verdict

DECISION = "decision"
"""The kind of the records of decisions; the log itself adds records of other kinds."""
_REMEMBERED_LABELS_BYTES = 8 * 1024 * 1024
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""`json.dumps` would make one for each record, which takes longer than encoding it."""
_RETRY_AFTER_SECONDS = 1.0
_NO_VIOLATIONS: Mapping[ViolationType, int] = {}


class AuditedCall(StrEnum):
    """What was asked of the policy service."""

    PLAN = "plan"
    CHECK = "check"
    EXPLAIN = "explain"
    COUNT = "count"
    STATUS = "status"
    LIST = "list"


class Outcome(StrEnum):
    """What it answered."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN_TENANT = "unknown_tenant"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One decision. `request_id` leads to logs and traces, `incident_id` is what a refused caller may quote."""

    time: float
    """Seconds since the epoch."""
    call: AuditedCall
    outcome: Outcome
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
    remembered: bool = False
    """Whether a grant that was signed before was given out again."""
    allowed: Sequence[Label] = ()
    """The rows that were allowed, a label each; like the withheld ones they are written once a label, with their
    number, for a tenant has few labels. With the labels the decision can be made again, under another policy."""
    withheld: Sequence[tuple[Label, Verdict]] = ()
    """The rows that were withheld."""

    def to_json(self) -> str:
        """The record as one line of JSON."""
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
                "caller_tenant_id": self.identity.tenant_id,
                "role": self.identity.role,
                "claimed_clearance": self.identity.clearance.name,
                "tenant_id": self.tenant_id,
                "action": self.action.value,
                "policy_version": self.policy_version,
                "rule_ids": list(self.rule_ids),
                "violations": {violation.value: count for violation, count in self.violations.items()},
                "remembered": self.remembered,
                "allowed_count": len(self.allowed),
                "withheld_count": len(self.withheld),
            }
        )
        # The labels' JSON, which is most of the work, is remembered; so these lists are put together as texts.
        allowed = ",".join(_rows(label, count, "") for label, count in Counter(self.allowed).items())
        withheld = ",".join(
            _rows(label, count, _reason(verdict)) for (label, verdict), count in Counter(self.withheld).items()
        )
        return f'{fields[:-1]},"allowed":[{allowed}],"withheld":[{withheld}]}}'


class Record(Protocol):
    """What can be written."""

    def to_json(self) -> str:
        """The record as one line of JSON that begins with its kind."""
        ...


class AuditTrail(Protocol):
    """Where records go."""

    def append(self, record: Record) -> None:
        """Take a record, without waiting for it to be written."""


class Auditor:
    """Makes the records: adds the time, the ids and nothing else."""

    def __init__(
        self,
        trail: AuditTrail,
        clock: Callable[[], float] = time.time,
        *,
        may_decide: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_decide` says whether decisions may be made now, for those that cannot be recorded might not."""
        self._trail = trail
        self._clock = clock
        self._may_decide = may_decide

    def require(self) -> None:
        """Make sure that decisions may be made.

        Raises:
            AuditUnavailable: if they cannot be recorded, and none are to be made then.
        """
        if not self._may_decide():
            raise AuditUnavailable(
                "decisions cannot be recorded now, so none are made; try again in a moment",
                retry_after=_RETRY_AFTER_SECONDS,
            )

    def record(
        self,
        call: AuditedCall,
        outcome: Outcome,
        *,
        identity: Identity,
        tenant_id: str,
        action: Action,
        policy_version: str,
        rule_ids: Sequence[str] = (),
        violations: Mapping[ViolationType, int] = _NO_VIOLATIONS,
        remembered: bool = False,
        allowed: Sequence[Label] = (),
        withheld: Sequence[tuple[Label, Verdict]] = (),
    ) -> str:
        """Record a decision and return its incident id."""
        incident_id = unique_id()
        record = AuditRecord(
            time=self._clock(),
            call=call,
            outcome=outcome,
            request_id=current_request_id(),
            incident_id=incident_id,
            identity=identity,
            tenant_id=tenant_id,
            action=action,
            policy_version=policy_version,
            rule_ids=rule_ids,
            violations=violations,
            remembered=remembered,
            allowed=allowed,
            withheld=withheld,
        )
        self._trail.append(record)
        return incident_id


def timestamp(seconds: float) -> str:
    """A time, in seconds since the epoch, as records have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _rows(label: Label, row_count: int, reason: str) -> str:
    return f'{{"label":{_label_json(label)},"row_count":{row_count}{reason}}}'


def _reason(verdict: Verdict) -> str:
    violation = verdict.violation.value if verdict.violation is not None else None
    return f',"violation_type":{json.dumps(violation)},"rule_ids":{json.dumps(verdict.rule_ids)}'


@cached(LRUCache(_REMEMBERED_LABELS_BYTES, getsizeof=len), lock=threading.Lock(), info=True)
def _label_json(label: Label) -> str:
    """The label's canonical JSON, in ASCII."""
    return json.dumps(rule_attributes(label), sort_keys=True, separators=(",", ":"))


CACHES: Mapping[str, Callable[[], CacheUse]] = {"audited_labels": _label_json.cache_info}
"""How this module's cache is used, by its name in metrics."""
