"""Relabels documents: retrieval says which labels there would be, policy decides each, and only then they change."""

from dataclasses import dataclass

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import AccessDenied, FieldViolation, RetrievalUnavailable
from vecsec_chassis.flag.flag import RealRetrievalFlag
from vecsec_gateway.peers.contract import CallContext, LabelMessage, Plan, Relabelled, Relabelling
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.use_cases.import_documents import NOT_PLANNED
from vecsec_gateway.use_cases.planning import Planning, require_real_retrieval

_MOST_ROUNDS = 4
"""Each asks for labels that came with others' writes since the round before."""


@dataclass(frozen=True, slots=True)
class RelabelDocuments:
    """The use case. It raises the refusals of the peers as they are."""

    planning: Planning
    retrieval: RetrievalClient
    policy: PolicyClient
    flag: RealRetrievalFlag

    async def __call__(self, caller: CallContext, tenant_id: str, wanted: Relabelling) -> tuple[str, int]:
        """The version of the policy that allowed it, and how many documents have another label, or would have.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant: what is counted is real.
            AccessDenied: if the policy does not let the caller write one of the new labels; nothing is changed then.
        """

        async def relabel(plan: Plan) -> tuple[str, Relabelled]:
            require_real_retrieval(self.flag, tenant_id)
            wanted.read_grant = (await self.planning.plan(caller, tenant_id, Action.READ)).grant
            return await self._relabel(caller, plan, wanted)

        _, (policy_version, told) = await self.planning.act(caller, tenant_id, Action.WRITE, relabel)
        return policy_version, told.relabelled_count

    async def _relabel(self, caller: CallContext, plan: Plan, wanted: Relabelling) -> tuple[str, Relabelled]:
        policy_version = plan.policy_version
        for _ in range(_MOST_ROUNDS):
            told = await self.retrieval.relabel(plan, wanted, caller.deadline)
            if not told.unchecked_labels:
                return policy_version, told
            policy_version = await self._require_writable(caller, plan, list(told.unchecked_labels))
            if wanted.dry_run:
                return policy_version, told
            wanted.checked_labels.extend(told.unchecked_labels)
        raise RetrievalUnavailable(
            "the documents' labels change faster than they can be checked; try again", retry_after=1.0
        )

    async def _require_writable(self, caller: CallContext, plan: Plan, labels: list[LabelMessage]) -> str:
        """The policy in force now, whose version is returned, decides each label; what is refused is counted and
        audited. Retrieval holds old labels and new ones to the grants besides."""
        verdicts = await self.policy.check(
            caller, plan.tenant_id, Action.WRITE, labels, planned_policy_version=NOT_PLANNED
        )
        if not all(verdicts.allowed):
            violation = FieldViolation(
                "change",
                "would give documents a label that may not be written by this caller, or has attributes or readers "
                "that the policy's schema does not declare so",
            )
            raise AccessDenied("the policy does not let this caller write these labels", violations=[violation])
        return verdicts.policy_version
