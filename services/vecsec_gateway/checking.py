"""The last wall before the caller: only rows that are what they should be, and that the policy allows now, pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from vecsec_chassis.access import Action
from vecsec_chassis.errors import VecSecError
from vecsec_chassis.identifiers import MOCK_ID_PREFIX
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.peers import Plan, PolicyPeer, Provenance, Row

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Rows that may be answered with."""

    rows: list[Row]
    policy_version: str
    """Of the policy that allowed them."""


class RowCheck:
    """Has the policy service decide every row again; drops withheld ones without a word to the caller."""

    def __init__(self, policy: PolicyPeer) -> None:
        self._policy = policy

    async def keep_allowed(
        self, rows: Sequence[Row], tenant_id: str, plan: Plan, is_genuine: Callable[[Row], bool], deadline: Deadline
    ) -> CheckedRows:
        """The rows that the policy allows and that are genuine, in their order.

        Rows that are not genuine are shown to the policy service all the same, so that it counts what it sees in them.

        Raises:
            PolicyUnavailable: without verdicts there is no answer.
            VecSecError: if the verdicts are not one a row.
        """
        labels = [row.label for row in rows]
        verdicts = await self._policy.check(tenant_id, Action.READ, labels, plan.policy_version, deadline)
        if len(verdicts.allowed) != len(rows):
            raise VecSecError(
                "internal error: rows could not be checked",
                detail=f"the policy service gave {len(verdicts.allowed)} verdicts on {len(rows)} rows",
            )
        kept = [
            row
            for row, allowed in zip(rows, verdicts.allowed, strict=True)
            if allowed and row.label.tenant_id == tenant_id and is_genuine(row)
        ]
        if len(kept) < len(rows):
            log.warning(
                "rows withheld",
                tenant_id=tenant_id,
                rows=len(rows),
                withheld=len(rows) - len(kept),
                withheld_by_policy=verdicts.allowed.count(False),
                policy_version=verdicts.policy_version,
            )
        return CheckedRows(kept, verdicts.policy_version)


def is_real(row: Row) -> bool:
    """Whether a row that retrieval sent can be one of its store: nobody can store one with a reserved id."""
    return row.provenance is Provenance.REAL and not row.document_id.startswith(MOCK_ID_PREFIX)


def is_mock(row: Row) -> bool:
    """Whether a row is recognisably made up."""
    return row.provenance is Provenance.MOCK and row.document_id.startswith(MOCK_ID_PREFIX)
