"""The way of a decision: the gate says who may enter which tenant, the checker which rows they may touch there.

What becomes of a call is booked and audited on this way, for all use cases: refusals by the gate itself, the rest by
whoever was let in, through the gate. Each row is decided by the policy in force now, from its label alone.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog
from cachetools import LRUCache

from vecsec_chassis.calls import current_peers, current_request_id, unique_id
from vecsec_chassis.domain.access import Action, Identity, ViolationType
from vecsec_chassis.domain.errors import AccessDenied, AuditUnavailable, UnknownTenant
from vecsec_chassis.domain.labels import AttributeValue, Label
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, AuditRecord, DecidedLabel, DecidedRows, Record
from vecsec_policy.cedar.rules import Verdict
from vecsec_policy.in_force.evaluation import TenantAccess, decide_entry
from vecsec_policy.in_force.snapshot import PolicyInForce
from vecsec_policy.in_force.utc_day import day_before, start_of
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.shadow.shadow import ShadowEvaluator

log = structlog.get_logger()

_REMEMBERED_ENTRIES = 10_000
"""A caller with many groups counts as several."""
_REMEMBERED_VERDICTS_BYTES = 48 * 1024 * 1024
"""Callers may ask about labels that they make up, so it is bytes that are bounded: some 30,000 usual labels."""
_PLANNED_BEFORE_MIDNIGHT_SECONDS = 60.0
"""Grants end with the day where rules ask for it; a call that began then may take so much longer."""
_RETRY_AFTER_SECONDS = 1.0
_NO_VIOLATIONS: Mapping[ViolationType, int] = {}
_EntryRequest: TypeAlias = tuple[str, int | None, Identity, str, Action]
"""Policy version, day, caller, tenant and action."""


class EntryGate:
    """Decides entry, remembers those who may enter, turns the others away; books and records what was decided."""

    def __init__(
        self,
        policy: PolicyInForce,
        metrics: PolicyMetrics,
        append: Callable[[Record], None],
        *,
        may_decide: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`append` takes the audit records, without waiting for them to be written; `may_decide` says whether decisions
        may be made now, where those that cannot be recorded may not; `clock` is in seconds since the epoch: rules may
        ask what day it is."""
        self.policy = policy
        """What decides."""
        self._metrics = metrics
        self._append = append
        self._may_decide = may_decide
        self._clock = clock
        self._admitted = _no_entries()
        self.lookups = CacheCounter()
        """How often a caller had been admitted before."""
        policy.on_change(self.forget)

    def forget(self) -> LRUCache[_EntryRequest, TenantAccess]:
        """Decide every entry anew from now on; what was remembered."""
        outdated, self._admitted = self._admitted, _no_entries()
        return outdated

    def admit(self, call: AuditedCall, identity: Identity, tenant_id: str, action: Action) -> TenantAccess:
        """The access of a caller who may enter.

        Raises:
            AccessDenied: with the same text whether or not the tenant exists.
            UnknownTenant: if the caller's own tenant is unknown to the policy, or if the tenant asked for is and the
                caller may enter any.
            AuditUnavailable: if decisions cannot be recorded, and none are to be made then.
        """
        self._require_audit()
        policy = self.policy.assignment.policy_for(tenant_id)
        key = (policy.version, policy.day(self._clock()), identity, tenant_id, action)
        access = self._admitted.get(key)
        self.lookups.count(found=access is not None)
        if access is None:
            access = self.assess(call, identity, tenant_id, action)
            if not access.entry.allowed:
                raise self._refusal(call, access)
            # Refusals are not remembered: probing must neither fill the cache nor be answered in telling times.
            self._admitted[key] = access
        return access

    def admit_to_configure(self, call: AuditedCall, identity: Identity, tenant_id: str) -> TenantAccess:
        """The access of a caller who may configure the tenant and so may be told about it, which is recorded.

        Raises:
            AccessDenied, UnknownTenant, AuditUnavailable: as `admit`.
        """
        access = self.admit(call, identity, tenant_id, Action.CONFIGURE)
        self.record(call, access)
        return access

    def admit_to_configure_own(self, call: AuditedCall, identity: Identity, tenant_id: str) -> TenantAccess:
        """The same of a caller of that tenant. Who may enter and is another's is refused, and that is recorded.

        Raises:
            AccessDenied, UnknownTenant, AuditUnavailable: as `admit`.
        """
        access = self.admit(call, identity, tenant_id, Action.CONFIGURE)
        if identity.tenant_id == tenant_id:
            self.record(call, access)
            return access
        self._metrics.denial(access.action)
        self.record(call, access, AuditedOutcome.DENIED)
        raise AccessDenied("what callers of other tenants did in a tenant is for its own callers alone")

    def assess(self, call: AuditedCall, identity: Identity, tenant_id: str, action: Action) -> TenantAccess:
        """A caller's access, also if they may not enter.

        Raises:
            AccessDenied: if the policy does not know the caller's role.
            UnknownTenant, AuditUnavailable: as `admit`.
        """
        self._require_audit()
        policy = self.policy.assignment.policy_for(tenant_id)
        try:
            return decide_entry(policy, identity, tenant_id, action, now=self._clock())
        except (AccessDenied, UnknownTenant) as refusal:
            is_denial = isinstance(refusal, AccessDenied)
            if is_denial:
                self._metrics.denial(action)
            self._append(
                AuditRecord(
                    time=self._clock(),
                    call=call,
                    outcome=AuditedOutcome.DENIED if is_denial else AuditedOutcome.UNKNOWN_TENANT,
                    request_id=current_request_id(),
                    incident_id=unique_id(),
                    identity=identity,
                    tenant_id=tenant_id,
                    action=action,
                    policy_version=policy.version,
                    peers=current_peers(),
                )
            )
            raise

    def record(
        self,
        call: AuditedCall,
        access: TenantAccess,
        outcome: AuditedOutcome = AuditedOutcome.ALLOWED,
        *,
        rule_ids: Sequence[str] | None = None,
        violations: Mapping[ViolationType, int] = _NO_VIOLATIONS,
        remembered: bool = False,
        rows: Sequence[DecidedRows] = (),
        search_mode: SearchMode | None = None,
    ) -> str:
        """Record what was decided by an access, and by which rules if not by those of entering; its incident id."""
        incident_id = unique_id()
        self._append(
            AuditRecord(
                time=self._clock(),
                call=call,
                outcome=outcome,
                request_id=current_request_id(),
                incident_id=incident_id,
                identity=access.identity,
                tenant_id=access.target.tenant_id,
                action=access.action,
                policy_version=access.policy.version,
                peers=current_peers(),
                rule_ids=access.entry.rule_ids if rule_ids is None else rule_ids,
                violations=violations,
                remembered=remembered,
                rows=rows,
                search_mode=search_mode,
            )
        )
        return incident_id

    def book(self, access: TenantAccess, violation: ViolationType, count: int = 1) -> None:
        """Report violations of one kind as they happen: in metrics, and as a log line that operators grep for. Per
        tenant they are counted from the audit log: see `violations.index`."""
        self._metrics.violation(violation, count)
        log.warning(
            violation.value,
            subject=access.identity.subject,
            issuer=access.identity.issuer,
            caller_tenant_id=access.identity.tenant_id,
            role=access.identity.role,
            tenant_id=access.target.tenant_id,
            count=count,
        )

    def book_entry(self, access: TenantAccess) -> Mapping[ViolationType, int]:
        """Report the violation, if there is one, of asking for this tenant; what was counted."""
        if access.entry.violation is None:
            return _NO_VIOLATIONS
        self.book(access, access.entry.violation)
        return {access.entry.violation: 1}

    def _require_audit(self) -> None:
        if self._may_decide is not None and not self._may_decide():
            raise AuditUnavailable(
                "decisions cannot be recorded now, so none are made; try again in a moment",
                retry_after=_RETRY_AFTER_SECONDS,
            )

    def _refusal(self, call: AuditedCall, access: TenantAccess) -> AccessDenied:
        self._metrics.denial(access.action)
        self.record(call, access, AuditedOutcome.DENIED, violations=self.book_entry(access))
        return AccessDenied(f"the policy does not allow {access.action} in tenant {access.target.tenant_id!r}")


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """One verdict a label."""

    verdicts: Mapping[Label, Verdict]
    policy_version: str


class RowChecker:
    """Decides rows. A verdict follows from access and label alone, so it is remembered while there is room."""

    def __init__(
        self,
        gate: EntryGate,
        metrics: PolicyMetrics,
        shadow: ShadowEvaluator,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate = gate
        self._metrics = metrics
        self._shadow = shadow
        self._clock = clock
        self._verdicts = _empty_memory()
        self.attributes: dict[tuple[str, type[AttributeValue]], AttributeValue] = {}
        """A value for each name and type that labels had which were allowed since the start, to callers who may write
        such rows. Others may make labels up, and could block changes of the policy with them: `orphaned_attributes`."""
        self.lookups = CacheCounter()
        """For how many labels a verdict was at hand."""

    def forget(self) -> LRUCache[tuple[TenantAccess, Label], DecidedLabel]:
        """Decide everything anew from now on; what was remembered, which is keyed by access anyway."""
        outdated, self._verdicts = self._verdicts, _empty_memory()
        return outdated

    async def check(
        self,
        identity: Identity,
        tenant_id: str,
        action: Action,
        rows: Mapping[Label, int],
        *,
        planned_policy_version: str,
        search_mode: SearchMode | None = None,
    ) -> CheckedRows:
        """Decide rows that a plan of `planned_policy_version` (empty: of none) let through; `rows` says how many have
        each label, `search_mode` by what a search found them: it is recorded, and decides nothing.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        access = self._gate.admit(AuditedCall.CHECK, identity, tenant_id, action)
        decided = [(each, rows[each.label]) for each in await self._decide(access, rows)]
        withheld = [(each, count) for each, count in decided if not each.verdict.allowed]
        withheld_count = sum(count for _, count in withheld)
        allowed_count = sum(rows.values()) - withheld_count
        counts = self._violations(access, withheld, planned_policy_version) if withheld else {}
        for violation, count in counts.items():
            self._gate.book(access, violation, count)
        self._metrics.rows_decided(allowed_count, withheld_count)
        annotate_span(allowed_count=allowed_count, withheld_count=withheld_count, policy=access.policy.version)
        self._gate.record(AuditedCall.CHECK, access, violations=counts, rows=decided, search_mode=search_mode)
        verdicts = {each.label: each.verdict for each, _ in decided}
        if self._gate.policy.assignment.candidate is not None:
            self._shadow.note(identity, tenant_id, action, tuple(verdicts.items()))
        return CheckedRows(verdicts, access.policy.version)

    def _violations(
        self, access: TenantAccess, withheld: Sequence[DecidedRows], planned_policy_version: str
    ) -> Mapping[ViolationType, int]:
        """What is to be counted of withheld rows."""
        counts: Counter[ViolationType] = Counter()
        for each, count in withheld:
            if each.verdict.violation is not None:
                counts[each.verdict.violation] += count
        if planned_policy_version == access.policy.version:
            counts += Counter({ViolationType.PLAN_CHECK_DIVERGENCE: self._divergent(access, withheld)})
        return counts

    def _divergent(self, access: TenantAccess, withheld: Sequence[DecidedRows]) -> int:
        """How many of these rows no plan by the same policy may have let through. Shortly after midnight the plan may
        be of yesterday, and the rules may have said something else then."""
        caller = access.caller
        if caller.today is None or self._clock() - start_of(caller.today) > _PLANNED_BEFORE_MIDNIGHT_SECONDS:
            return sum(count for _, count in withheld)
        yesterday = replace(caller, today=day_before(caller.today))
        verdicts = access.policy.engine.decide_rows(
            yesterday, access.target, access.action, [each.label for each, _ in withheld]
        )
        return sum(count for (_, count), verdict in zip(withheld, verdicts, strict=True) if not verdict.allowed)

    async def _decide(self, access: TenantAccess, labels: Iterable[Label]) -> Iterable[DecidedLabel]:
        """Each label decided, in order."""
        decided = {label: self._verdicts.get((access, label)) for label in labels}
        new = [label for label, known in decided.items() if known is None]
        self.lookups.hits += len(decided) - len(new)
        self.lookups.misses += len(new)
        engine = access.policy.engine
        for start in range(0, len(new), engine.rows_at_once):
            if start:
                await asyncio.sleep(0)  # nothing else is served while rows are decided
            batch = new[start : start + engine.rows_at_once]
            verdicts = engine.decide_rows(access.caller, access.target, access.action, batch)
            for label, verdict in zip(batch, verdicts, strict=True):
                decided[label] = self._verdicts[access, label] = DecidedLabel.of(label, verdict)
            self._note_attributes(
                access, [label for label, verdict in zip(batch, verdicts, strict=True) if verdict.allowed]
            )
        return [each for each in decided.values() if each is not None]

    def _note_attributes(self, access: TenantAccess, allowed: Sequence[Label]) -> None:
        """Learn which attributes rows carry, from labels that the caller may do to what was asked."""
        telling = [
            label
            for label in allowed
            if any((name, type(value)) not in self.attributes for name, value in label.attributes)
        ]
        for label in _writable(access, telling) if telling else ():
            for name, value in label.attributes:
                self.attributes.setdefault((name, type(value)), value)


def _writable(access: TenantAccess, labels: Sequence[Label]) -> Sequence[Label]:
    """Those of the labels whose rows the caller may write; all have been allowed for the action of the access."""
    if access.action is Action.WRITE:
        return labels
    engine, caller, target = access.policy.engine, access.caller, access.target
    [entry] = engine.decide_entry(caller, target, (Action.WRITE,))
    if not entry.allowed:
        return ()
    verdicts = engine.decide_rows(caller, target, Action.WRITE, labels)
    return [label for label, verdict in zip(labels, verdicts, strict=True) if verdict.allowed]


def _no_entries() -> LRUCache[_EntryRequest, TenantAccess]:
    return LRUCache(_REMEMBERED_ENTRIES, getsizeof=lambda access: access.caller.weight)


def _empty_memory() -> LRUCache[tuple[TenantAccess, Label], DecidedLabel]:
    return LRUCache(_REMEMBERED_VERDICTS_BYTES, getsizeof=DecidedLabel.weight)
