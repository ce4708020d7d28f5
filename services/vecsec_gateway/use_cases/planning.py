"""Plans access, or remembers the plan, and acts on the grant; one that retrieval refuses is replaced once.

A remembered plan to read saves every search but a caller's first one a call. What is read is checked by the policy in
force before anybody sees it.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple, TypeVar

import structlog
from cachetools import TTLCache

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import CollectionNotFound, InvalidGrant, RealRetrievalOff, VecSecError
from vecsec_chassis.domain.identifiers import MOCK_ID_PREFIX
from vecsec_chassis.flag.flag import RealRetrievalFlag
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_chassis.telemetry.tracing import annotate_span
from vecsec_gateway.peers.contract import Answer, CallContext, Plan, Provenance, Row
from vecsec_gateway.peers.policy import PolicyClient

log = structlog.get_logger()

Result = TypeVar("Result")

_FLAG_RETRY_AFTER_SECONDS = 30.0
"""An operator turns the flag, so there is no use in asking every second."""
_MAXIMUM_PLANS = 20_000
"""One with a longer grant than usual counts as several."""
_CHARACTERS_OF_A_USUAL_GRANT = 4_096
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


class PlanCache:
    """Plans that were given, and only those: a denial is asked for again each time, so that it is counted.

    A remembered plan may be of an older policy. That is safe because a check follows, and a check by another policy
    version makes the plan be made anew (`Planning.read`).
    """

    def __init__(self, clock: Callable[[], float], *, seconds: float) -> None:
        """`clock` is in seconds; nothing is remembered if `seconds` is 0."""
        self._clock = clock
        self.lookups = CacheCounter()
        """How often a plan was at hand."""
        self._plans: TTLCache[PlanKey, tuple[Plan, float]] = TTLCache(
            _MAXIMUM_PLANS, ttl=seconds, timer=clock, getsizeof=_weight
        )

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

    def __init__(self, policy: PolicyClient, plan_cache: PlanCache) -> None:
        self._policy = policy
        self._plan_cache = plan_cache

    async def act(
        self,
        caller: CallContext,
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
            self._plan_cache.forget(key)
        plan = self._plan_cache.find(key) or await self._plan(caller, key)
        try:
            return plan, await act(plan)
        except CollectionNotFound:
            self._plan_cache.forget(key)  # so that whoever tries names out is seen by the policy service each time
            raise
        except InvalidGrant as refusal:
            log.warning("retrieval refused a grant, planning once more", tenant_id=tenant_id, detail=refusal.message)
        self._plan_cache.forget(key)
        plan = await self._plan(caller, key)
        try:
            return plan, await act(plan)
        except InvalidGrant as refusal:
            raise grant_refused(refusal) from refusal

    async def plan(self, caller: CallContext, tenant_id: str, action: Action) -> Plan:
        """A plan of now, for what no check follows.

        Raises:
            AccessDenied, UnknownTenant, PolicyUnavailable: where there is none.
        """
        return await self._plan(caller, PlanKey.of(caller.token, tenant_id, action))

    async def read(
        self,
        caller: CallContext,
        tenant_id: str,
        find: Callable[[Plan], Awaitable[Answer]],
        *,
        asked_for: Collection[str] | None = None,
    ) -> Answer:
        """Find rows by a plan to read, and have them checked; rows with other ids than those asked for (None: for any)
        are dropped.

        Where the check speaks of another policy version than the plan was made by, both are done again with a fresh
        plan, once: so a changed policy is in force at once, also for what it newly allows, however long plans are
        remembered. While replicas of the policy service differ, the check of the second round decides.

        Raises:
            VecSecError: as `act` of this class, `find`, and `keep_allowed`.
        """
        plan, found = await self.act(caller, tenant_id, Action.READ, find)
        checked = await keep_allowed(self._policy, caller, plan, found, asked_for)
        if checked.policy_version != plan.policy_version:
            plan, found = await self.act(caller, tenant_id, Action.READ, find, anew=True)
            checked = await keep_allowed(self._policy, caller, plan, found, asked_for)
        return checked

    async def _plan(self, caller: CallContext, key: PlanKey) -> Plan:
        plan = await self._policy.plan(caller, key.tenant_id, key.action)
        self._plan_cache.keep(key, plan)
        return plan


def _weight(remembered: tuple[Plan, float]) -> int:
    return 1 + len(remembered[0].grant) // _CHARACTERS_OF_A_USUAL_GRANT


def grant_refused(refusal: InvalidGrant) -> VecSecError:
    """What the caller is told when retrieval refuses the policy service's grants."""
    return VecSecError(
        "internal error: the retrieval service refuses the policy service's grants: their clocks or their keys differ",
        detail="check retrieval's VECSEC_GRANT_JWKS, policy's VECSEC_GRANT_KEY_FILE and the clocks of both: "
        f"{refusal.message}",
    )


async def keep_allowed(
    policy: PolicyClient, caller: CallContext, plan: Plan, found: Answer, asked_for: Collection[str] | None = None
) -> Answer:
    """The last wall before the caller: the rows that the policy allows now, that are genuine and were asked for, in
    their order. Withheld ones are dropped without a word to the caller.

    Rows that are not genuine are shown to the policy service all the same, so that it counts what it sees in them.

    Raises:
        PolicyUnavailable: without verdicts there is no answer.
        VecSecError: if the verdicts are not one a label.
    """
    row_counts = [0] * len(found.labels)
    for row in found.rows:
        row_counts[row.label] += 1
    verdicts = await policy.check(
        caller,
        plan.tenant_id,
        Action.READ,
        found.labels,
        row_counts,
        planned_policy_version=plan.policy_version,
        search_mode=found.mode,
    )
    passes = [
        allowed and label.tenant_id == plan.tenant_id
        for allowed, label in zip(verdicts.allowed, found.labels, strict=True)
    ]
    is_genuine = is_real if found.mock_reason is None else is_mock
    kept = [
        row
        for row in found.rows
        if passes[row.label] and is_genuine(row) and (asked_for is None or row.document_id in asked_for)
    ]
    withheld = len(found.rows) - len(kept)
    if withheld:
        log.warning(
            "rows withheld",
            tenant_id=plan.tenant_id,
            rows=len(found.rows),
            withheld=withheld,
            withheld_by_policy=sum(
                count for count, allowed in zip(row_counts, verdicts.allowed, strict=True) if not allowed
            ),
            policy_version=verdicts.policy_version,
        )
    annotate_span(result_count=len(kept), withheld_count=withheld, policy=verdicts.policy_version)
    return replace(found, rows=kept, policy_version=verdicts.policy_version)


def require_real_retrieval(flag: RealRetrievalFlag, tenant_id: str) -> None:
    """See that the flag is on for a tenant that the caller was let into: to others the flag tells of the tenant.

    Raises:
        RealRetrievalOff: if it is off; retrieval says the same where it sees the flag first.
    """
    if not flag.is_on(tenant_id):
        raise RealRetrievalOff(
            "real vector retrieval is switched off for this tenant (USE_REAL_VECTOR_RETRIEVAL)",
            retry_after=_FLAG_RETRY_AFTER_SECONDS,
        )


def is_real(row: Row) -> bool:
    """Whether a row that retrieval sent can be one of its store: nobody can store one with a reserved id."""
    return row.provenance is Provenance.REAL and not row.document_id.startswith(MOCK_ID_PREFIX)


def is_mock(row: Row) -> bool:
    """Whether a row is recognisably made up."""
    return row.provenance is Provenance.MOCK and row.document_id.startswith(MOCK_ID_PREFIX)
