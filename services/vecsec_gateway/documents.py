"""Reading, deleting and listing by name: no mock ever stands in for these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vecsec_chassis.access import Action
from vecsec_gateway.checking import CheckedRows, RowCheck, is_real
from vecsec_gateway.deadline import Deadline
from vecsec_gateway.flag_off import require_real_retrieval
from vecsec_gateway.peers import (
    Collection,
    Flag,
    IdPageRequest,
    LabelPageRequest,
    Lookup,
    Page,
    Plan,
    RetrievalPeer,
    Row,
)
from vecsec_gateway.planning import Planning

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Granted(Generic[Result]):
    """What was done under a grant."""

    result: Result
    policy_version: str
    """Of the policy that the grant was made from."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The use cases over documents that the caller names. All raise the refusals of the peers as they are."""

    planning: Planning
    retrieval: RetrievalPeer
    check: RowCheck
    flag: Flag

    async def get(self, lookup: Lookup, deadline: Deadline) -> CheckedRows:
        """The rows that exist and that the caller may read; a row that nobody asked for is dropped.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def read(plan: Plan) -> list[Row]:
            require_real_retrieval(self.flag, lookup.tenant_id)
            return await self.retrieval.get(plan.grant, lookup, deadline)

        wanted = set(lookup.document_ids)

        async def check(plan: Plan, rows: list[Row]) -> CheckedRows:
            return await self.check.keep_allowed(
                rows, lookup.tenant_id, plan, lambda row: is_real(row) and row.document_id in wanted, deadline
            )

        _, checked = await self.planning.read(lookup.tenant_id, deadline, read, check)
        return checked

    async def delete(self, lookup: Lookup, deadline: Deadline) -> Granted[int]:
        """Delete those that exist and that the caller may delete; says how many."""
        plan, deleted = await self.planning.act(
            lookup.tenant_id,
            Action.DELETE,
            deadline,
            lambda plan: self.retrieval.delete(plan.grant, lookup, deadline),
        )
        return Granted(deleted, plan.policy_version)

    async def list_collections(self, tenant_id: str, deadline: Deadline) -> Granted[Sequence[Collection]]:
        """The collections that hold at least one document the caller may read."""
        plan, collections = await self.planning.act(
            tenant_id,
            Action.READ,
            deadline,
            lambda plan: self.retrieval.list_collections(plan.grant, tenant_id, deadline),
            anew=True,
        )
        return Granted(collections, plan.policy_version)

    async def list_labels(self, page: LabelPageRequest, deadline: Deadline) -> Granted[Page]:
        """A page of the labels whose documents the caller may configure."""
        plan, labels = await self.planning.act(
            page.tenant_id,
            Action.CONFIGURE,
            deadline,
            lambda plan: self.retrieval.list_labels(plan.grant, page, deadline),
            anew=True,
        )
        return Granted(labels, plan.policy_version)

    async def list_document_ids(self, page: IdPageRequest, deadline: Deadline) -> Granted[Page]:
        """A page of the ids of documents that the caller may read.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def read(plan: Plan) -> Page:
            require_real_retrieval(self.flag, page.tenant_id)
            return await self.retrieval.list_document_ids(plan.grant, page, deadline)

        plan, ids = await self.planning.act(page.tenant_id, Action.READ, deadline, read, anew=True)
        return Granted(ids, plan.policy_version)

    async def reread(self, tenant_id: str, deadline: Deadline) -> str:
        """Let the tenant's documents be read from the store anew; the version of the policy that allowed it."""
        plan, _ = await self.planning.act(
            tenant_id,
            Action.CONFIGURE,
            deadline,
            lambda plan: self.retrieval.reread(plan.grant, tenant_id, deadline),
            anew=True,
        )
        return plan.policy_version
