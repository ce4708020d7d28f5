"""Use case: check rows. Decides each row again, by the policy in force now, from its label alone."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_chassis.telemetry.metrics import Lookups
from vecsec_chassis.telemetry.tracing import note
from vecsec_policy.audit.records import AuditedCall, Auditor, DecidedLabel, DecidedRows, Outcome, row_count
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import Standing
from vecsec_policy.in_force.utc_day import day_before, start_of
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.shadow.shadow import Shadow
from vecsec_policy.use_cases.entry_gate import EntryGate
from vecsec_policy.violations.ledger import ViolationLedger

_REMEMBERED_VERDICTS_BYTES = 48 * 1024 * 1024
"""Callers may ask about labels that they make up, so it is bytes that are bounded: some 30,000 usual labels."""
_PLANNED_YESTERDAY_SECONDS = 60.0
"""Grants end with the day where rules ask for it; a call that began then may take so much longer."""


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """One verdict a label."""

    verdicts: Mapping[Label, Verdict]
    policy_version: str


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

    def forget(self) -> LRUCache[tuple[Standing, Label], DecidedLabel]:
        """Decide everything anew from now on; what was remembered, which is keyed by standing anyway."""
        outdated, self._verdicts = self._verdicts, _empty_memory()
        return outdated

    @property
    def attributes(self) -> Mapping[tuple[str, type[AttributeValue]], AttributeValue]:
        """A value for each name and type that labels had which were allowed since the start, to callers who may write
        such rows. Others may make labels up, and could block changes of the policy with them: `orphaned_attributes`."""
        return self._attributes

    async def check(
        self,
        identity: Identity,
        tenant_id: str,
        action: Action,
        rows: Mapping[Label, int],
        *,
        planned_policy_version: str,
    ) -> CheckedRows:
        """Decide rows that a plan of `planned_policy_version` (empty: of none) let through; `rows` says how many have
        each label.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        standing = self._gate.admit(AuditedCall.CHECK, identity, tenant_id, action)
        decided = [(each, rows[each.label]) for each in await self._decide(standing, rows)]
        withheld = [(each, count) for each, count in decided if not each.verdict.allowed]
        withheld_count = row_count(withheld)
        allowed_count = row_count(decided) - withheld_count
        counts = self._violations(standing, withheld, planned_policy_version) if withheld else {}
        for violation, count in counts.items():
            self._ledger.violation(violation, identity, tenant_id, count=count)
        self._metrics.rows_decided(allowed_count, withheld_count)
        note(allowed_count=allowed_count, withheld_count=withheld_count, policy=standing.policy.version)
        self._auditor.record(
            AuditedCall.CHECK,
            Outcome.ALLOWED,
            identity=identity,
            tenant_id=tenant_id,
            action=action,
            policy_version=standing.policy.version,
            rule_ids=standing.entry.rule_ids,
            violations=counts,
            rows=decided,
        )
        verdicts = {each.label: each.verdict for each, _ in decided}
        if self._shadow is not None:
            self._shadow.checked(standing, verdicts)
        return CheckedRows(verdicts, standing.policy.version)

    def _violations(
        self, standing: Standing, withheld: Sequence[DecidedRows], planned_policy_version: str
    ) -> Mapping[ViolationType, int]:
        """What is to be counted of withheld rows."""
        counts: Counter[ViolationType] = Counter()
        for each, count in withheld:
            if each.verdict.violation is not None:
                counts[each.verdict.violation] += count
        if planned_policy_version == standing.policy.version:
            counts += Counter({ViolationType.PLAN_CHECK_DIVERGENCE: self._divergent(standing, withheld)})
        return counts

    def _divergent(self, standing: Standing, withheld: Sequence[DecidedRows]) -> int:
        """How many of these rows no plan by the same policy may have let through. Shortly after midnight the plan may
        be of yesterday, and the rules may have said something else then."""
        caller = standing.caller
        if caller.today is None or self._clock() - start_of(caller.today) > _PLANNED_YESTERDAY_SECONDS:
            return row_count(withheld)
        yesterday = replace(caller, today=day_before(caller.today))
        verdicts = standing.policy.engine.decide_rows(
            yesterday, standing.target, standing.action, [each.label for each, _ in withheld]
        )
        return row_count(rows for rows, verdict in zip(withheld, verdicts, strict=True) if not verdict.allowed)

    async def _decide(self, standing: Standing, labels: Iterable[Label]) -> Iterable[DecidedLabel]:
        """Each label decided, in order."""
        decided = {label: self._verdicts.get((standing, label)) for label in labels}
        new = [label for label, known in decided.items() if known is None]
        self.lookups.hits += len(decided) - len(new)
        self.lookups.misses += len(new)
        engine = standing.policy.engine
        for start in range(0, len(new), engine.rows_at_once):
            if start:
                await asyncio.sleep(0)  # nothing else is served while rows are decided
            batch = new[start : start + engine.rows_at_once]
            verdicts = engine.decide_rows(standing.caller, standing.target, standing.action, batch)
            for label, verdict in zip(batch, verdicts, strict=True):
                decided[label] = self._verdicts[standing, label] = DecidedLabel.of(label, verdict)
            self._note_attributes(
                standing, [label for label, verdict in zip(batch, verdicts, strict=True) if verdict.allowed]
            )
        return [each for each in decided.values() if each is not None]

    def _note_attributes(self, standing: Standing, allowed: Sequence[Label]) -> None:
        """Learn which attributes rows carry, from labels that the caller may do to what was asked."""
        telling = [
            label
            for label in allowed
            if any((name, type(value)) not in self._attributes for name, value in label.attributes)
        ]
        for label in _writable(standing, telling) if telling else ():
            for name, value in label.attributes:
                self._attributes.setdefault((name, type(value)), value)


def _writable(standing: Standing, labels: Sequence[Label]) -> Sequence[Label]:
    """Those of the labels whose rows the caller may write; all have been allowed for the action of the standing."""
    if standing.action is Action.WRITE:
        return labels
    engine, caller, target = standing.policy.engine, standing.caller, standing.target
    [entry] = engine.decide_entry(caller, target, (Action.WRITE,))
    if not entry.allowed:
        return ()
    verdicts = engine.decide_rows(caller, target, Action.WRITE, labels)
    return [label for label, verdict in zip(labels, verdicts, strict=True) if verdict.allowed]


def _empty_memory() -> LRUCache[tuple[Standing, Label], DecidedLabel]:
    return LRUCache(_REMEMBERED_VERDICTS_BYTES, getsizeof=DecidedLabel.weight)
