"""The first gate: who may enter which tenant for what. Refusals are booked and audited here, for all use cases."""

import time
from collections.abc import Callable
from typing import TypeAlias

from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.telemetry.metrics import Lookups
from vecsec_policy.audit.records import AuditedCall, Auditor, Outcome
from vecsec_policy.in_force.evaluation import Standing, decide_entry
from vecsec_policy.in_force.snapshot import PolicyInForce
from vecsec_policy.violations.ledger import ViolationLedger

_REMEMBERED_STANDINGS = 10_000
_Question: TypeAlias = tuple[str, int | None, Identity, str, Action]
"""Policy version, day, caller, tenant and action."""


class EntryGate:
    """Decides entry, remembers those who may enter, and turns the others away."""

    def __init__(
        self,
        policy: PolicyInForce,
        ledger: ViolationLedger,
        auditor: Auditor,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is in seconds since the epoch: rules may ask what day it is."""
        self._policy = policy
        self._clock = clock
        self._ledger = ledger
        self._auditor = auditor
        self._admitted: LRUCache[_Question, Standing] = LRUCache(_REMEMBERED_STANDINGS)
        self.lookups = Lookups()
        """How often a caller had been admitted before."""
        policy.on_change(self.forget)

    def forget(self) -> LRUCache[_Question, Standing]:
        """Decide every entry anew from now on; what was remembered."""
        outdated, self._admitted = self._admitted, LRUCache(_REMEMBERED_STANDINGS)
        return outdated

    def admit(self, call: AuditedCall, identity: Identity, tenant_id: str, action: Action) -> Standing:
        """The standing of a caller who may enter.

        Raises:
            AccessDenied: with the same text whether or not the tenant exists.
            UnknownTenant: if the caller's own tenant is unknown to the policy, or if the tenant asked for is and the
                caller may enter any.
            AuditUnavailable: if decisions cannot be recorded, and none are to be made then.
        """
        self._auditor.require()
        policy = self._policy.deciding(tenant_id)
        key = (policy.version, policy.day(self._clock()), identity, tenant_id, action)
        standing = self._admitted.get(key)
        self.lookups.count(found=standing is not None)
        if standing is None:
            standing = self.assess(call, identity, tenant_id, action)
            if not standing.entry.allowed:
                raise self._turned_away(call, standing)
            # Refusals are not remembered: probing must neither fill the cache nor be answered in telling times.
            self._admitted[key] = standing
        return standing

    def assess(self, call: AuditedCall, identity: Identity, tenant_id: str, action: Action) -> Standing:
        """How a caller stands, also if they may not enter.

        Raises:
            AccessDenied: if the policy does not know the caller's role.
            UnknownTenant, AuditUnavailable: as `admit`.
        """
        self._auditor.require()
        policy = self._policy.deciding(tenant_id)
        try:
            return decide_entry(policy, identity, tenant_id, action, now=self._clock())
        except (AccessDenied, UnknownTenant) as refusal:
            is_denial = isinstance(refusal, AccessDenied)
            if is_denial:
                self._ledger.denial(action)
            self._auditor.record(
                call,
                Outcome.DENIED if is_denial else Outcome.UNKNOWN_TENANT,
                identity=identity,
                tenant_id=tenant_id,
                action=action,
                policy_version=policy.version,
            )
            raise

    def book_violation(self, standing: Standing) -> None:
        """Count the violation, if there is one, of asking for this tenant."""
        if standing.entry.violation is not None:
            self._ledger.violation(standing.entry.violation, standing.identity, standing.target.tenant_id)

    def _turned_away(self, call: AuditedCall, standing: Standing) -> AccessDenied:
        entry, tenant_id = standing.entry, standing.target.tenant_id
        self._ledger.denial(standing.action)
        self.book_violation(standing)
        self._auditor.record(
            call,
            Outcome.DENIED,
            identity=standing.identity,
            tenant_id=tenant_id,
            action=standing.action,
            policy_version=standing.policy.version,
            rule_ids=entry.rule_ids,
            violations={} if entry.violation is None else {entry.violation: 1},
        )
        return AccessDenied(f"the policy does not allow {standing.action} in tenant {tenant_id!r}")
