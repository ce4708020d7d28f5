"""The first gate: who may enter which tenant for what. Refusals are booked and audited here, for all use cases."""

import time
from collections.abc import Callable
from typing import TypeAlias

from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_policy.audit.records import AuditedCall, AuditedOutcome, Auditor
from vecsec_policy.in_force.evaluation import TenantAccess, decide_entry
from vecsec_policy.in_force.snapshot import PolicyInForce
from vecsec_policy.violations.ledger import ViolationLedger

_REMEMBERED_ENTRIES = 10_000
_EntryRequest: TypeAlias = tuple[str, int | None, Identity, str, Action]
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
        self._admitted: LRUCache[_EntryRequest, TenantAccess] = LRUCache(_REMEMBERED_ENTRIES)
        self.lookups = CacheCounter()
        """How often a caller had been admitted before."""
        policy.on_change(self.forget)

    def forget(self) -> LRUCache[_EntryRequest, TenantAccess]:
        """Decide every entry anew from now on; what was remembered."""
        outdated, self._admitted = self._admitted, LRUCache(_REMEMBERED_ENTRIES)
        return outdated

    def admit(self, call: AuditedCall, identity: Identity, tenant_id: str, action: Action) -> TenantAccess:
        """The access of a caller who may enter.

        Raises:
            AccessDenied: with the same text whether or not the tenant exists.
            UnknownTenant: if the caller's own tenant is unknown to the policy, or if the tenant asked for is and the
                caller may enter any.
            AuditUnavailable: if decisions cannot be recorded, and none are to be made then.
        """
        self._auditor.require()
        policy = self._policy.policy_for(tenant_id)
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

    def assess(self, call: AuditedCall, identity: Identity, tenant_id: str, action: Action) -> TenantAccess:
        """A caller's access, also if they may not enter.

        Raises:
            AccessDenied: if the policy does not know the caller's role.
            UnknownTenant, AuditUnavailable: as `admit`.
        """
        self._auditor.require()
        policy = self._policy.policy_for(tenant_id)
        try:
            return decide_entry(policy, identity, tenant_id, action, now=self._clock())
        except (AccessDenied, UnknownTenant) as refusal:
            is_denial = isinstance(refusal, AccessDenied)
            if is_denial:
                self._ledger.denial(action)
            self._auditor.record(
                call,
                AuditedOutcome.DENIED if is_denial else AuditedOutcome.UNKNOWN_TENANT,
                identity=identity,
                tenant_id=tenant_id,
                action=action,
                policy_version=policy.version,
            )
            raise

    def book_violation(self, access: TenantAccess) -> None:
        """Count the violation, if there is one, of asking for this tenant."""
        if access.entry.violation is not None:
            self._ledger.violation(access.entry.violation, access.identity, access.target.tenant_id)

    def _refusal(self, call: AuditedCall, access: TenantAccess) -> AccessDenied:
        entry, tenant_id = access.entry, access.target.tenant_id
        self._ledger.denial(access.action)
        self.book_violation(access)
        self._auditor.record(
            call,
            AuditedOutcome.DENIED,
            identity=access.identity,
            tenant_id=tenant_id,
            action=access.action,
            policy_version=access.policy.version,
            rule_ids=entry.rule_ids,
            violations={} if entry.violation is None else {entry.violation: 1},
        )
        return AccessDenied(f"the policy does not allow {access.action} in tenant {tenant_id!r}")
