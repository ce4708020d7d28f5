"""Use case: plan access. Says which rows a caller could touch, as a signed grant."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, Grant, Identity, ViolationType
from vecsec_chassis.domain.tenant_limits import StorageLimits
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_policy.audit.records import AuditedCall
from vecsec_policy.folder.principals import claims_more_than_role_allows
from vecsec_policy.in_force.evaluation import TenantAccess
from vecsec_policy.in_force.utc_day import end_of
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.shadow.shadow import ShadowEvaluator
from vecsec_policy.use_cases.decisions import EntryGate

_REMEMBERED_GRANTS = 10_000
"""A longer one than usual counts as several."""
_CHARACTERS_OF_A_USUAL_GRANT = 4_096
_COUNTED_CLAIMS = 10_000
_SHORTEST_LIFE_SECONDS = 5.0
"""A token is accepted some seconds past its end, because clocks differ; a grant made from it then must be usable."""


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """What a caller could do in a tenant."""

    access: TenantAccess
    signed_grant: str
    expires_at: float
    """Seconds since the epoch."""
    lifetime: float
    """Seconds from when it was signed until it expires."""

    def is_reusable(self, now: float) -> bool:
        """Whether the same grant is given out again: in the first half of its life, so that a caller gets time enough
        to use it. A clock that was set back makes more than a whole life seem left; then it is signed anew."""
        return self.lifetime / 2 < self.expires_at - now <= self.lifetime


class AccessPlanner:
    """Plans access, and gives a signed grant out again while more than half of its life is left."""

    def __init__(
        self,
        gate: EntryGate,
        metrics: PolicyMetrics,
        shadow: ShadowEvaluator,
        recent: RecentPlans,
        *,
        sign: Callable[[Grant], str],
        grant_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sign` makes of a grant what the retrieval service verifies."""
        self._gate = gate
        self._metrics = metrics
        self._shadow = shadow
        self._recent = recent
        self._sign = sign
        self._grant_seconds = grant_seconds
        self._clock = clock
        self._turn = asyncio.Lock()
        """Large policies are specialised for one caller after the other: who waits finds what their like got."""
        self._plans = _no_plans()
        self.lookups = CacheCounter()
        """How often a signed grant was at hand."""
        self._counted_claims: LRUCache[Identity, None] = LRUCache(_COUNTED_CLAIMS)

    def forget(self) -> LRUCache[TenantAccess, AccessPlan]:
        """Sign every grant anew from now on: what was remembered, and is returned, was signed with another key or by
        other rules."""
        outdated, self._plans = self._plans, _no_plans()
        return outdated

    async def plan(self, identity: Identity, tenant_id: str, action: Action) -> AccessPlan:
        """The caller's plan for this tenant and action.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        self._shadow.note(identity, tenant_id, action)
        access = self._gate.admit(AuditedCall.PLAN, identity, tenant_id, action)
        plan = self._plans.get(access)
        remembered = plan is not None and plan.is_reusable(self._clock())
        violations: Mapping[ViolationType, int] = {}
        if plan is None or not remembered:
            plan = self._sign_plan(access, await self._residual(access))
            self._plans[access] = plan
            violations = self._count_overclaim(access)
        self.lookups.count(found=remembered)
        annotate_span(remembered=remembered, policy=access.policy.version)
        self._gate.record(AuditedCall.PLAN, access, violations=violations, remembered=remembered)
        return plan

    async def _residual(self, access: TenantAccess) -> str:
        """The rules specialised to the caller; other calls are served between the steps."""
        self._recent.note(access)
        question = access.caller, access.target, access.action
        residual = access.policy.engine.cached_plan(*question)
        if residual is not None:
            return residual
        async with self._turn:
            for residual in access.policy.engine.plan_in_steps(*question):
                if residual is not None:
                    return residual
                await asyncio.sleep(0)
        raise AssertionError("the last step is the plan")

    def _sign_plan(self, access: TenantAccess, residual: str) -> AccessPlan:
        identity, policy = access.identity, access.policy
        now = self._clock()
        lifetime = min(self._grant_seconds, max(identity.expires_at - now, _SHORTEST_LIFE_SECONDS))
        if access.caller.today is not None:
            # What the rules say may be otherwise tomorrow: nobody may remember the plan for longer.
            lifetime = min(lifetime, max(end_of(access.caller.today) - now, 0.0))
        grant = Grant(
            subject=identity.subject,
            caller_tenant_id=identity.tenant_id,
            role=identity.role,
            tenant_id=access.target.tenant_id,
            action=access.action,
            residual=residual,
            may_configure=access.may_configure and _may_have_embeddings(access),
            policy_version=policy.version,
            expires_at=now + lifetime,
            sets=policy.engine.sets_of(access.caller, residual),
            label_schema=policy.engine.checked.label_schema,
            storage=StorageLimits.of(access.target.limits) if access.action is Action.WRITE else None,
        )
        self._metrics.grants_issued.add(1, access.action.value)
        return AccessPlan(access, self._sign(grant), grant.expires_at, lifetime)

    def _count_overclaim(self, access: TenantAccess) -> Mapping[ViolationType, int]:
        """Book a token that claims more clearance than its role allows: once a token, not once a plan."""
        if not claims_more_than_role_allows(access.identity, access.caller) or access.identity in self._counted_claims:
            return {}
        self._counted_claims[access.identity] = None
        self._gate.book(access, ViolationType.ROLE_CLEARANCE)
        return {ViolationType.ROLE_CLEARANCE: 1}


def _no_plans() -> LRUCache[TenantAccess, AccessPlan]:
    return LRUCache(
        _REMEMBERED_GRANTS, getsizeof=lambda plan: 1 + len(plan.signed_grant) // _CHARACTERS_OF_A_USUAL_GRANT
    )


def _may_have_embeddings(access: TenantAccess) -> bool:
    """From embeddings texts can be found out: across tenants they are given only where the roles file says so."""
    is_own = access.caller.tenant.tenant_id == access.target.tenant_id
    return is_own or access.caller.role.embeddings_across_tenants
