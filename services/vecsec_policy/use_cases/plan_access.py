"""Use case: plan access. Says which rows a caller could touch, as a signed grant."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, Grant, Identity, ViolationType
from vecsec_chassis.telemetry.metrics import Lookups
from vecsec_chassis.telemetry.tracing import note
from vecsec_policy.audit.records import AuditedCall, Auditor, Outcome
from vecsec_policy.folder.principals import claims_more_than_role_allows
from vecsec_policy.in_force.evaluation import Standing
from vecsec_policy.in_force.utc_day import end_of
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.reload.recent_plans import RecentPlans
from vecsec_policy.shadow.shadow import Shadow
from vecsec_policy.use_cases.entry_gate import EntryGate
from vecsec_policy.violations.ledger import ViolationLedger

_REMEMBERED_GRANTS = 10_000
_REMEMBERED_TOKENS = 10_000
_SHORTEST_LIFE_SECONDS = 5.0
"""A token is accepted some seconds past its end, because clocks differ; a grant made from it then must be usable."""


class Signer(Protocol):
    """Signs grants."""

    def sign(self, grant: Grant) -> str:
        """The grant in the form that the retrieval service verifies."""
        ...


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """What a caller could do in a tenant."""

    standing: Standing
    signed_grant: str
    expires_at: float
    """Seconds since the epoch."""
    life: float
    """Seconds from when it was signed until it expires."""

    def is_reusable(self, now: float) -> bool:
        """Whether the same grant is given out again: in the first half of its life, so that a caller gets time enough
        to use it. A clock that was set back makes more than a whole life seem left; then it is signed anew."""
        return self.life / 2 < self.expires_at - now <= self.life


class AccessPlanner:
    """Plans access, and gives a signed grant out again while more than half of its life is left."""

    def __init__(
        self,
        gate: EntryGate,
        signer: Signer,
        ledger: ViolationLedger,
        auditor: Auditor,
        metrics: PolicyMetrics,
        *,
        grant_seconds: float,
        shadow: Shadow | None = None,
        recent: RecentPlans | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gate = gate
        self._signer = signer
        self._ledger = ledger
        self._auditor = auditor
        self._metrics = metrics
        self._grant_seconds = grant_seconds
        self._shadow = shadow
        self._recent = recent
        self._clock = clock
        self._turn = asyncio.Lock()
        """Large policies are specialised for one caller after the other: who waits finds what their like got."""
        self._plans: LRUCache[Standing, AccessPlan] = LRUCache(_REMEMBERED_GRANTS)
        self.lookups = Lookups()
        """How often a signed grant was at hand."""
        self._seen: LRUCache[Identity, None] = LRUCache(_REMEMBERED_TOKENS)

    def forget(self) -> LRUCache[Standing, AccessPlan]:
        """Sign every grant anew from now on: what was remembered, and is returned, was signed with another key or by
        other rules."""
        outdated, self._plans = self._plans, LRUCache(_REMEMBERED_GRANTS)
        return outdated

    async def plan(self, identity: Identity, tenant_id: str, action: Action) -> AccessPlan:
        """The caller's plan for this tenant and action.

        Raises:
            AccessDenied, UnknownTenant: as `EntryGate.admit`.
        """
        if self._shadow is not None:
            self._shadow.planned(identity, tenant_id, action)
        standing = self._gate.admit(AuditedCall.PLAN, identity, tenant_id, action)
        plan = self._plans.get(standing)
        remembered = plan is not None and plan.is_reusable(self._clock())
        violations: Mapping[ViolationType, int] = {}
        if plan is None or not remembered:
            plan = self._made(standing, await self._residual(standing))
            self._plans[standing] = plan
            violations = self._overclaimed(standing)
        self.lookups.count(found=remembered)
        note(remembered=remembered, policy=standing.policy.version)
        self._auditor.record(
            AuditedCall.PLAN,
            Outcome.ALLOWED,
            identity=identity,
            tenant_id=tenant_id,
            action=action,
            policy_version=standing.policy.version,
            rule_ids=standing.entry.rule_ids,
            violations=violations,
            remembered=remembered,
        )
        return plan

    async def _residual(self, standing: Standing) -> str:
        """The rules specialised to the caller; other calls are served between the steps."""
        if self._recent is not None:
            self._recent.note(standing)
        question = standing.caller, standing.target, standing.action
        residual = standing.policy.engine.remembered_plan(*question)
        if residual is not None:
            return residual
        async with self._turn:
            for residual in standing.policy.engine.planning(*question):
                if residual is not None:
                    return residual
                await asyncio.sleep(0)
        raise AssertionError("the last step is the plan")

    def _made(self, standing: Standing, residual: str) -> AccessPlan:
        identity, policy = standing.identity, standing.policy
        now = self._clock()
        life = min(self._grant_seconds, max(identity.expires_at - now, _SHORTEST_LIFE_SECONDS))
        if standing.caller.today is not None:
            # What the rules say may be otherwise tomorrow: nobody may remember the plan for longer.
            life = min(life, max(end_of(standing.caller.today) - now, 0.0))
        grant = Grant(
            subject=identity.subject,
            caller_tenant_id=identity.tenant_id,
            role=identity.role,
            tenant_id=standing.target.tenant_id,
            action=standing.action,
            residual=residual,
            may_configure=standing.may_configure,
            policy_version=policy.version,
            expires_at=now + life,
        )
        self._metrics.grant_issued(standing.action)
        return AccessPlan(standing, self._signer.sign(grant), grant.expires_at, life)

    def _overclaimed(self, standing: Standing) -> Mapping[ViolationType, int]:
        """Book a token that claims more clearance than its role allows: once a token, not once a plan."""
        if not claims_more_than_role_allows(standing.identity, standing.caller) or standing.identity in self._seen:
            return {}
        self._seen[standing.identity] = None
        self._ledger.violation(ViolationType.ROLE_CLEARANCE, standing.identity, standing.target.tenant_id)
        return {ViolationType.ROLE_CLEARANCE: 1}
