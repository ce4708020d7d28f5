"""What a tenant uses of what it may, for those who may configure it."""

from dataclasses import dataclass

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.tenant_limits import TenantLimits
from vecsec_gateway.limits.tenant_shares import TenantShares, TenantUsage
from vecsec_gateway.peers.contract import CallContext, StoredSize
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.use_cases.planning import Planning


@dataclass(frozen=True, slots=True)
class ToldUsage:
    """The answer."""

    limits: TenantLimits
    stored: StoredSize
    now: TenantUsage
    """Through this gateway."""
    policy_version: str


@dataclass(frozen=True, slots=True)
class UsageReader:
    """The use case."""

    planning: Planning
    policy: PolicyClient
    retrieval: RetrievalClient
    shares: TenantShares

    async def read(self, caller: CallContext, tenant_id: str) -> ToldUsage:
        """What the tenant uses; of what is hidden, too, as a number: whoever may configure it may know.

        Raises:
            AccessDenied, UnknownTenant, PolicyUnavailable: where there is no plan to configure.
            RetrievalUnavailable: if retrieval does not answer.
        """
        plan, stored = await self.planning.act(
            caller,
            tenant_id,
            Action.CONFIGURE,
            lambda plan: self.retrieval.stored_size(plan, caller.deadline),
            anew=True,
        )
        limits = await self.policy.limits(caller, tenant_id)
        return ToldUsage(limits, stored, self.shares.usage(tenant_id), plan.policy_version)
