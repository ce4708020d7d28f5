"""Plans access, or remembers the plan, and acts on the grant; one that retrieval refuses is replaced once."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from vecsec_chassis.access import Action
from vecsec_chassis.calls import current_token
from vecsec_chassis.errors import CollectionNotFound, InvalidGrant, VecSecError
from vecsec_gateway.checking import CheckedRows
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.peers import Plan, PolicyPeer
from vecsec_gateway.remembered_plans import PlanKey, RememberedPlans

log = structlog.get_logger()

Result = TypeVar("Result")


class Planning:
    """Gets grants from the policy service."""

    def __init__(self, policy: PolicyPeer, remembered: RememberedPlans) -> None:
        self._policy = policy
        self._remembered = remembered

    async def act(
        self,
        tenant_id: str,
        action: Action,
        deadline: Deadline,
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
        key = PlanKey.of(current_token(), tenant_id, action)
        if anew:
            self._remembered.forget(key)
        plan = self._remembered.find(key) or await self._plan(key, deadline)
        try:
            return plan, await act(plan)
        except CollectionNotFound:
            self._remembered.forget(key)  # so that whoever tries names out is seen by the policy service each time
            raise
        except InvalidGrant as refusal:
            log.warning("retrieval refused a grant, planning once more", tenant_id=tenant_id, detail=refusal.message)
        self._remembered.forget(key)
        plan = await self._plan(key, deadline)
        try:
            return plan, await act(plan)
        except InvalidGrant as refusal:
            raise grant_trouble(refusal) from refusal

    async def read(
        self,
        tenant_id: str,
        deadline: Deadline,
        act: Callable[[Plan], Awaitable[Result]],
        check: Callable[[Plan, Result], Awaitable[CheckedRows]],
    ) -> tuple[Result, CheckedRows]:
        """Act on a plan to read, and have the rows that came of it checked.

        Where the check speaks of another policy version than the plan was made by, both are done again with a fresh
        plan, once: so a changed policy is in force at once, also for what it newly allows, however long plans are
        remembered. While replicas of the policy service differ, the check of the second round decides.

        Raises:
            VecSecError: as `act` of this class, and as the two functions.
        """
        plan, found = await self.act(tenant_id, Action.READ, deadline, act)
        checked = await check(plan, found)
        if checked.policy_version != plan.policy_version:
            plan, found = await self.act(tenant_id, Action.READ, deadline, act, anew=True)
            checked = await check(plan, found)
        return found, checked

    async def _plan(self, key: PlanKey, deadline: Deadline) -> Plan:
        plan = await self._policy.plan(key.tenant_id, key.action, deadline)
        self._remembered.keep(key, plan)
        return plan


def grant_trouble(refusal: InvalidGrant) -> VecSecError:
    """What the caller is told when retrieval refuses the policy service's grants."""
    return VecSecError(
        "internal error: the retrieval service refuses the policy service's grants",
        detail="check retrieval's VECSEC_GRANT_JWKS, policy's VECSEC_GRANT_KEY_FILE and the clocks of both: "
        f"{refusal.message}",
    )
