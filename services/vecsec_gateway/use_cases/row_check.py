"""The last wall before the caller: only rows that are what they should be, and that the policy allows now, pass."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.identifiers import MOCK_ID_PREFIX
from vecsec_chassis.telemetry.tracing import note
from vecsec_gateway.peers.contract import Answer, Caller, Plan, PolicyPeer, Provenance, Row

log = structlog.get_logger()


class RowCheck:
    """Has the policy service decide every row again; drops withheld ones without a word to the caller."""

    def __init__(self, policy: PolicyPeer) -> None:
        self._policy = policy

    async def keep_allowed(
        self, caller: Caller, plan: Plan, found: Answer, is_genuine: Callable[[Row], bool]
    ) -> Answer:
        """The rows that the policy allows and that are genuine, in their order.

        Rows that are not genuine are shown to the policy service all the same, so that it counts what it sees in them.

        Raises:
            PolicyUnavailable: without verdicts there is no answer.
            VecSecError: if the verdicts are not one a label.
        """
        row_counts = [0] * len(found.labels)
        for row in found.rows:
            row_counts[row.label] += 1
        verdicts = await self._policy.check(
            caller, plan.tenant_id, Action.READ, found.labels, row_counts, planned_policy_version=plan.policy_version
        )
        passes = [
            allowed and label.tenant_id == plan.tenant_id
            for allowed, label in zip(verdicts.allowed, found.labels, strict=True)
        ]
        kept = [row for row in found.rows if passes[row.label] and is_genuine(row)]
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
        note(result_count=len(kept), withheld_count=withheld, policy=verdicts.policy_version)
        return replace(found, rows=kept, policy_version=verdicts.policy_version)


def is_real(row: Row) -> bool:
    """Whether a row that retrieval sent can be one of its store: nobody can store one with a reserved id."""
    return row.provenance is Provenance.REAL and not row.document_id.startswith(MOCK_ID_PREFIX)


def is_mock(row: Row) -> bool:
    """Whether a row is recognisably made up."""
    return row.provenance is Provenance.MOCK and row.document_id.startswith(MOCK_ID_PREFIX)
