"""Plans to read, remembered for a while, which saves every search but a caller's first one a call."""

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from cachetools import TTLCache

from vecsec_chassis.access import Action
from vecsec_chassis.cache_metrics import Lookups
from vecsec_gateway.peers import Plan

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
    version makes the plan be made anew (`planning.Planning.read`).
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
