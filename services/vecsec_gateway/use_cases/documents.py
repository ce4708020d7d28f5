"""Reading, deleting and listing by name: no mock ever stands in for these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vecsec_chassis.domain.access import Action
from vecsec_gateway.peers.contract import (
    Answer,
    Caller,
    Collection,
    Deletion,
    Flag,
    IdPage,
    IdPageRequest,
    LabelPage,
    LabelPageRequest,
    Lookup,
    Plan,
    RetrievalPeer,
    require_real_retrieval,
)
from vecsec_gateway.use_cases.planning import Planning
from vecsec_gateway.use_cases.row_check import RowCheck, is_real

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

    async def get(self, caller: Caller, tenant_id: str, lookup: Lookup) -> Answer:
        """The rows that exist and that the caller may read; a row that nobody asked for is dropped.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def find(plan: Plan) -> Answer:
            require_real_retrieval(self.flag, tenant_id)
            return await self.retrieval.get(plan, lookup, caller.deadline)

        wanted = set(lookup.document_ids)

        async def check(plan: Plan, found: Answer) -> Answer:
            return await self.check.keep_allowed(
                caller, plan, found, lambda row: is_real(row) and row.document_id in wanted
            )

        return await self.planning.read(caller, tenant_id, find, check)

    async def delete(self, caller: Caller, tenant_id: str, deletion: Deletion) -> Granted[int]:
        """Delete those that exist and that the caller may delete; says how many."""
        plan, deleted = await self.planning.act(
            caller, tenant_id, Action.DELETE, lambda plan: self.retrieval.delete(plan, deletion, caller.deadline)
        )
        return Granted(deleted, plan.policy_version)

    async def list_collections(self, caller: Caller, tenant_id: str) -> Granted[Sequence[Collection]]:
        """The collections that hold at least one document the caller may read."""
        plan, collections = await self.planning.act(
            caller,
            tenant_id,
            Action.READ,
            lambda plan: self.retrieval.list_collections(plan, caller.deadline),
            anew=True,
        )
        return Granted(collections, plan.policy_version)

    async def list_labels(self, caller: Caller, tenant_id: str, page: LabelPageRequest) -> Granted[LabelPage]:
        """A page of the labels whose documents the caller may configure."""
        plan, labels = await self.planning.act(
            caller,
            tenant_id,
            Action.CONFIGURE,
            lambda plan: self.retrieval.list_labels(plan, page, caller.deadline),
            anew=True,
        )
        return Granted(labels, plan.policy_version)

    async def list_document_ids(self, caller: Caller, tenant_id: str, page: IdPageRequest) -> Granted[IdPage]:
        """A page of the ids of documents that the caller may read.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def read(plan: Plan) -> IdPage:
            require_real_retrieval(self.flag, tenant_id)
            return await self.retrieval.list_document_ids(plan, page, caller.deadline)

        plan, ids = await self.planning.act(caller, tenant_id, Action.READ, read, anew=True)
        return Granted(ids, plan.policy_version)

    async def reread(self, caller: Caller, tenant_id: str) -> str:
        """Let the tenant's documents be read from the store anew; the version of the policy that allowed it."""
        plan, _ = await self.planning.act(
            caller,
            tenant_id,
            Action.CONFIGURE,
            lambda plan: self.retrieval.reread(plan, caller.deadline),
            anew=True,
        )
        return plan.policy_version
