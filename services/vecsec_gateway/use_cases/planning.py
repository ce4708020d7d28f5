"""Plans access, or remembers the plan, and acts on the grant; one that retrieval refuses is replaced once.

A remembered plan to read saves every search but a caller's first one a call.
"""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import NamedTuple, TypeVar

import structlog
from cachetools import TTLCache

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import CollectionNotFound, InvalidGrant, VecSecError
from vecsec_chassis.telemetry.metrics import Lookups
from vecsec_gateway.peers.contract import Answer, Caller, Plan, PolicyPeer

log = structlog.get_logger()

Result = TypeVar("Result")

_MAXIMUM_PLANS = 20_000
_RESERVED_SECONDS = 5.0
_LONGEST_RESERVED_SHARE = 0.5
"""Kept back of a grant's life, for it is judged when the call that it is used in arrives at retrieval. Should that take
longer, retrieval refuses it and access is planned once more."""


class PlanKey(NamedTuple):
    """What a plan depends on besides the policy: the very token, the tenant and the action."""

    token_hash: bytes
    tenant_id: str
    action: Action

    @classmethod
    def of(cls, token: str, tenant_id: str, action: Action) -> "PlanKey":
        """The key of a caller's plan."""
        return cls(sha256(token.encode()).digest(), tenant_id, action)


class RememberedPlans:
    """Plans that were given, and only those: a denial is asked for again each time, so that it is counted.

    A remembered plan may be of an older policy. That is safe because a check follows, and a check by another policy
    version makes the plan be made anew (`Planning.read`).
    """

    def __init__(self, clock: Callable[[], float], *, seconds: float) -> None:
        """`clock` is in seconds; nothing is remembered if `seconds` is 0."""
        self._clock = clock
        self.lookups = Lookups()
        """How often a plan was at hand."""
        self._plans: TTLCache[PlanKey, tuple[Plan, float]] = TTLCache(_MAXIMUM_PLANS, ttl=seconds, timer=clock)

    def find(self, key: PlanKey) -> Plan | None:
        """The plan, as long as its grant will do."""
        try:
            plan, usable_until = self._plans[key]  # `get` would look twice
            usable = plan if self._clock() < usable_until else None
        except KeyError:
            usable = None
        self.lookups.count(found=usable is not None)
        return usable

    def keep(self, key: PlanKey, plan: Plan) -> None:
        """Remember a plan, to read only: a write is rare, and should see the policy as it is."""
        if key.action is Action.READ:
            reserved = min(_RESERVED_SECONDS, plan.lifetime * _LONGEST_RESERVED_SHARE)
            self._plans[key] = plan, self._clock() + plan.lifetime - reserved

    def forget(self, key: PlanKey) -> None:
        """Ask for this plan again."""
        self._plans.pop(key, None)


class Planning:
    """Gets grants from the policy service."""

    def __init__(self, policy: PolicyPeer, remembered: RememberedPlans) -> None:
        self._policy = policy
        self._remembered = remembered

    async def act(
        self,
        caller: Caller,
        tenant_id: str,
        action: Action,
        act: Callable[[Plan], Awaitable[Result]],
        *,
        anew: bool = False,
    ) -> tuple[Plan, Result]:
        """Plan, then act on the plan. A grant may run out on its way or its key may have been rotated: plan once more.

        A remembered plan may only be acted on where a check follows (see `read`); without one, plan `anew`.

        Raises:
            AccessDenied, UnknownTenant, PolicyUnavailable: where there is no plan.
            VecSecError: if retrieval refuses the second grant too. The caller can do nothing about grants, and is not
                told that it lacks a token.
        """
        key = PlanKey.of(caller.token, tenant_id, action)
        if anew:
            self._remembered.forget(key)
        plan = self._remembered.find(key) or await self._plan(caller, key)
        try:
            return plan, await act(plan)
        except CollectionNotFound:
            self._remembered.forget(key)  # so that whoever tries names out is seen by the policy service each time
            raise
        except InvalidGrant as refusal:
            log.warning("retrieval refused a grant, planning once more", tenant_id=tenant_id, detail=refusal.message)
        self._remembered.forget(key)
        plan = await self._plan(caller, key)
        try:
            return plan, await act(plan)
        except InvalidGrant as refusal:
            raise grant_trouble(refusal) from refusal

    async def read(
        self,
        caller: Caller,
        tenant_id: str,
        find: Callable[[Plan], Awaitable[Answer]],
        check: Callable[[Plan, Answer], Awaitable[Answer]],
    ) -> Answer:
        """Find rows by a plan to read, and have them checked.

        Where the check speaks of another policy version than the plan was made by, both are done again with a fresh
        plan, once: so a changed policy is in force at once, also for what it newly allows, however long plans are
        remembered. While replicas of the policy service differ, the check of the second round decides.

        Raises:
            VecSecError: as `act` of this class, and as the two functions.
        """
        plan, found = await self.act(caller, tenant_id, Action.READ, find)
        checked = await check(plan, found)
        if checked.policy_version != plan.policy_version:
            plan, found = await self.act(caller, tenant_id, Action.READ, find, anew=True)
            checked = await check(plan, found)
        return checked

    async def _plan(self, caller: Caller, key: PlanKey) -> Plan:
        plan = await self._policy.plan(caller, key.tenant_id, key.action)
        self._remembered.keep(key, plan)
        return plan


def grant_trouble(refusal: InvalidGrant) -> VecSecError:
    """What the caller is told when retrieval refuses the policy service's grants."""
    return VecSecError(
        "internal error: the retrieval service refuses the policy service's grants",
        detail="check retrieval's VECSEC_GRANT_JWKS, policy's VECSEC_GRANT_KEY_FILE and the clocks of both: "
        f"{refusal.message}",
    )
