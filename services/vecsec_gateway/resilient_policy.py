"""The policy service as the use cases see it: tried again while it is unavailable, and never done without."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from vecsec_chassis.access import Action
from vecsec_chassis.errors import PolicyUnavailable, VecSecError
from vecsec_chassis.labels import Label
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.metrics import GatewayMetrics
from vecsec_gateway.peer_failures import PolicyTimedOut
from vecsec_gateway.peers import (
    Explanation,
    Plan,
    PolicyPeer,
    PolicyStatus,
    Verdicts,
    ViolationCounts,
    ViolationListing,
    ViolationQuestion,
)
from vecsec_gateway.retries import RetryRules, retried
from vecsec_gateway.retry_budget import RetryBudget

Result = TypeVar("Result")


class ResilientPolicy:
    """A policy peer around another one."""

    def __init__(
        self,
        peer: PolicyPeer,
        *,
        budget: RetryBudget,
        attempts: int,
        timeout_seconds: float,
        metrics: GatewayMetrics,
    ) -> None:
        """`timeout_seconds` is for one try."""
        self._peer = peer
        self._budget = budget
        self._timeout_seconds = timeout_seconds
        self._rules = RetryRules(attempts=attempts, may_pass=_may_pass, on_retry=metrics.policy_retried)

    async def plan(self, tenant_id: str, action: Action, deadline: Deadline) -> Plan:
        """Which rows the caller could touch."""
        return await self._call(deadline, lambda until: self._peer.plan(tenant_id, action, until))

    async def check(
        self,
        tenant_id: str,
        action: Action,
        labels: Sequence[Label],
        planned_policy_version: str,
        deadline: Deadline,
    ) -> Verdicts:
        """A verdict on each label by the policy in force now."""
        return await self._call(
            deadline, lambda until: self._peer.check(tenant_id, action, labels, planned_policy_version, until)
        )

    async def explain(self, tenant_id: str, action: Action, label: Label, deadline: Deadline) -> Explanation:
        """Whether the caller may touch a row with this label, and why."""
        return await self._call(deadline, lambda until: self._peer.explain(tenant_id, action, label, until))

    async def count_violations(self, question: ViolationQuestion, deadline: Deadline) -> ViolationCounts:
        """How often the tenant's callers broke rules."""
        return await self._call(deadline, lambda until: self._peer.count_violations(question, until))

    async def list_violations(self, question: ViolationQuestion, deadline: Deadline) -> ViolationListing:
        """Which rules the tenant's callers broke."""
        return await self._call(deadline, lambda until: self._peer.list_violations(question, until))

    async def status(self, tenant_id: str, deadline: Deadline) -> PolicyStatus:
        """Which policy decides over a tenant's rows."""
        return await self._call(deadline, lambda until: self._peer.status(tenant_id, until))

    async def _call(self, deadline: Deadline, attempt: Callable[[Deadline], Awaitable[Result]]) -> Result:
        async def once() -> Result:
            return await attempt(Deadline.after(min(self._timeout_seconds, deadline.remaining())))

        return await retried(once, rules=self._rules, deadline=deadline, budget=self._budget)


def _may_pass(error: VecSecError) -> bool:
    # A policy service that is too slow is not asked again by the same call: that would make it slower.
    return isinstance(error, PolicyUnavailable) and not isinstance(error, PolicyTimedOut)
