"""Use case: check rows. Decides each row again, by the policy in force now, from its label alone."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cachetools import LRUCache

from vecsec_chassis.access import Action, Identity, ViolationType
from vecsec_chassis.cache_metrics import Lookups
from vecsec_chassis.labels import AttributeValue, Label, told_apart
from vecsec_chassis.tracing import note
from vecsec_policy.audit import AuditedCall, Auditor, Outcome
from vecsec_policy.cedar_rules import LABEL_NOT_IN_SCHEMA
from vecsec_policy.days import day_before, start_of
from vecsec_policy.deciding import Standing
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.rules import Verdict
from vecsec_policy.shadowing import Shadow
from vecsec_policy.standing import EntryGate
from vecsec_policy.violations import ViolationLedger

_REMEMBERED_VERDICTS_BYTES = 48 * 1024 * 1024
"""Callers may ask about labels that they make up, so it is bytes that are bounded: some 40,000 usual labels."""
_BYTES_OF_A_VERDICT = 512
_PLANNED_YESTERDAY_SECONDS = 60.0
"""Grants end with the day where rules ask for it; a call that began then may take so much longer."""


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """One verdict a row, in the order of the labels."""

    verdicts: Sequence[Verdict]
    policy_version: str


@dataclass(frozen=True, slots=True)
class _Decided:
    """What is remembered."""

    label: Label
    verdict: Verdict

    def weight(self) -> int:
        return _BYTES_OF_A_VERDICT + self.label.weight


class RowChecker:
    """Decides rows. A verdict follows from standing and label alone, so it is remembered while there is room."""

    def __init__(
        self,
        gate: EntryGate,
        ledger: ViolationLedger,
        auditor: Auditor,
        metrics: PolicyMetrics,
        *,
        shadow: Shadow | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._gate = gate
        self._ledger = ledger
        self._auditor = auditor
        self._metrics = metrics
        self._shadow = shadow
        self._verdicts = _empty_memory()
        self._attributes: dict[tuple[str, type[AttributeValue]], AttributeValue] = {}
        self.lookups = Lookups()
        """For how many labels a verdict was at hand."""

    def forget(self) -> LRUCache[tuple[Standing, Label], _Decided]:
        """Decide everything anew from now on; what was remembered, which is keyed by standing anyway."""
        outdated, self._verdicts = self._verdicts, _empty_memory()
        return outdated

    @property
    def attributes(self) -> Mapping[tuple[str, type[AttributeValue]], AttributeValue]:
        """The attributes of the labels that were checked since the start and fitted the schema: a value for each name
        and type."""
        return self._attributes

    async def check(
        self,
        identity: Identity,
        tenant_id: str,
        action: Action,
        labels: Sequence[Label],
        *,
        planned_policy_version: str,
    ) -> CheckedRows:
        """Decide rows that a plan of `planned_policy_version` (empty: of none) let through.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        standing = self._gate.admit(AuditedCall.CHECK, identity, tenant_id, action)
        verdicts = await self._decide(standing, labels)
        withheld = [(label, verdict) for label, verdict in zip(labels, verdicts, strict=True) if not verdict.allowed]
        counts = self._violations(standing, withheld, planned_policy_version) if withheld else {}
        for violation, count in counts.items():
            self._ledger.violation(violation, identity, tenant_id, count=count)
        self._metrics.rows_decided(len(verdicts) - len(withheld), len(withheld))
        note(allowed_count=len(verdicts) - len(withheld), withheld_count=len(withheld), policy=standing.policy.version)
        self._auditor.record(
            AuditedCall.CHECK,
            Outcome.ALLOWED,
            identity=identity,
            tenant_id=tenant_id,
            action=action,
            policy_version=standing.policy.version,
            rule_ids=standing.entry.rule_ids,
            violations=counts,
            allowed=[label for label, verdict in zip(labels, verdicts, strict=True) if verdict.allowed],
            withheld=withheld,
        )
        if self._shadow is not None:
            self._shadow.checked(standing, labels, verdicts)
        return CheckedRows(verdicts, standing.policy.version)

    def _violations(
        self, standing: Standing, withheld: Sequence[tuple[Label, Verdict]], planned_policy_version: str
    ) -> Mapping[ViolationType, int]:
        """What is to be counted of withheld rows."""
        counts = Counter(verdict.violation for _, verdict in withheld if verdict.violation is not None)
        if planned_policy_version == standing.policy.version:
            counts += Counter({ViolationType.PLAN_CHECK_DIVERGENCE: self._divergent(standing, withheld)})
        return counts

    def _divergent(self, standing: Standing, withheld: Sequence[tuple[Label, Verdict]]) -> int:
        """How many of these rows no plan by the same policy may have let through. Shortly after midnight the plan may
        be of yesterday, and the rules may have said something else then."""
        caller = standing.caller
        if caller.today is None or self._clock() - start_of(caller.today) > _PLANNED_YESTERDAY_SECONDS:
            return len(withheld)
        yesterday = replace(caller, today=day_before(caller.today))
        verdicts = standing.policy.engine.decide_rows(
            yesterday, standing.target, standing.action, [label for label, _ in withheld]
        )
        return sum(not verdict.allowed for verdict in verdicts)

    async def _decide(self, standing: Standing, labels: Sequence[Label]) -> Sequence[Verdict]:
        distinct, places = told_apart(labels)
        decided: dict[Label, Verdict] = {}
        new = []
        for label in distinct:
            try:
                decided[label] = self._verdicts[standing, label].verdict
            except KeyError:
                new.append(label)
        self.lookups.hits += len(decided)
        self.lookups.misses += len(new)
        engine = standing.policy.engine
        for start in range(0, len(new), engine.rows_at_once):
            if start:
                await asyncio.sleep(0)  # nothing else is served while rows are decided
            batch = new[start : start + engine.rows_at_once]
            verdicts = engine.decide_rows(standing.caller, standing.target, standing.action, batch)
            for label, verdict in zip(batch, verdicts, strict=True):
                decided[label] = verdict
                self._note_attributes(label, verdict)
                self._verdicts[standing, label] = _Decided(label, verdict)
        verdict_at = [decided[label] for label in distinct]
        return [verdict_at[place] for place in places]

    def _note_attributes(self, label: Label, verdict: Verdict) -> None:
        if LABEL_NOT_IN_SCHEMA in verdict.rule_ids:
            return  # callers may make up attributes
        for name, value in label.attributes:
            self._attributes.setdefault((name, type(value)), value)


def _empty_memory() -> LRUCache[tuple[Standing, Label], _Decided]:
    return LRUCache(_REMEMBERED_VERDICTS_BYTES, getsizeof=_Decided.weight)
