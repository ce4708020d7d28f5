"""Reading, deleting and listing by name: no mock ever stands in for these."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vecsec_chassis.domain.access import Action
from vecsec_chassis.flag.flag import RealRetrievalFlag
from vecsec_gateway.peers.contract import (
    Answer,
    CallContext,
    Collection,
    Deletion,
    ExportPage,
    ExportPageRequest,
    IdPage,
    IdPageRequest,
    LabelPage,
    LabelPageRequest,
    Lookup,
    Plan,
    Source,
    SourcePage,
    SourcePageRequest,
)
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.use_cases.planning import Planning, require_real_retrieval


@dataclass(frozen=True, slots=True)
class DocumentAccess:
    """The use cases over documents that the caller names. All raise the refusals of the peers as they are; what is done
    without a check comes with the plan that allowed it."""

    planning: Planning
    retrieval: RetrievalClient
    flag: RealRetrievalFlag

    async def get(self, caller: CallContext, tenant_id: str, lookup: Lookup) -> Answer:
        """The rows that exist and that the caller may read; a row that nobody asked for is dropped.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def find(plan: Plan) -> Answer:
            require_real_retrieval(self.flag, tenant_id)
            return await self.retrieval.get(plan, lookup, caller.deadline)

        return await self.planning.read(caller, tenant_id, find, asked_for=set(lookup.document_ids))

    async def delete(self, caller: CallContext, tenant_id: str, deletion: Deletion) -> tuple[Plan, int]:
        """Delete those that exist and that the caller may delete; says how many.

        A filter is for those that may be read, too, which is planned likewise.
        """

        async def delete(plan: Plan) -> int:
            if deletion.HasField("filter"):
                require_real_retrieval(self.flag, tenant_id)
                deletion.read_grant = (await self.planning.plan(caller, tenant_id, Action.READ)).grant
            return await self.retrieval.delete(plan, deletion, caller.deadline)

        return await self.planning.act(caller, tenant_id, Action.DELETE, delete)

    async def list_collections(self, caller: CallContext, tenant_id: str) -> tuple[Plan, Sequence[Collection]]:
        """The collections that hold at least one document the caller may read.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant: counts are real, too.
        """

        async def read(plan: Plan) -> Sequence[Collection]:
            require_real_retrieval(self.flag, tenant_id)
            return await self.retrieval.list_collections(plan, caller.deadline)

        return await self.planning.act(caller, tenant_id, Action.READ, read, anew=True)

    async def list_labels(self, caller: CallContext, tenant_id: str, page: LabelPageRequest) -> tuple[Plan, LabelPage]:
        """A page of the labels whose documents the caller may configure.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def read(plan: Plan) -> LabelPage:
            require_real_retrieval(self.flag, tenant_id)
            return await self.retrieval.list_labels(plan, page, caller.deadline)

        return await self.planning.act(caller, tenant_id, Action.CONFIGURE, read, anew=True)

    async def list_document_ids(self, caller: CallContext, tenant_id: str, page: IdPageRequest) -> tuple[Plan, IdPage]:
        """A page of the ids of documents that the caller may read.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """

        async def read(plan: Plan) -> IdPage:
            require_real_retrieval(self.flag, tenant_id)
            return await self.retrieval.list_document_ids(plan, page, caller.deadline)

        return await self.planning.act(caller, tenant_id, Action.READ, read, anew=True)

    async def list_sources(
        self, caller: CallContext, tenant_id: str, wanted: SourcePageRequest
    ) -> tuple[SourcePage, Sequence[Source], str]:
        """A page, those of its sources that may be told, and the version of the policy that checked them. One of whose
        labels any is refused is withheld as a whole: title and count are of all passages.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """
        pages: list[tuple[SourcePage, Answer]] = []

        async def find(plan: Plan) -> Answer:
            require_real_retrieval(self.flag, tenant_id)
            pages.append(await self.retrieval.list_sources(plan, wanted, caller.deadline))
            return pages[-1][1]

        checked = await self.planning.read(caller, tenant_id, find)
        page, found = pages[-1]
        refused = Counter(row.document_id for row in found.rows)
        refused.subtract(row.document_id for row in checked.rows)
        told = [source for place, source in enumerate(page.sources) if source.labels and not refused[str(place)]]
        return page, told, checked.policy_version

    async def export(self, caller: CallContext, tenant_id: str, wanted: ExportPageRequest) -> tuple[ExportPage, Answer]:
        """A page of all documents, and the rows of it that the caller may read.

        Raises:
            RealRetrievalOff: if the flag is off for the tenant.
        """
        pages: list[ExportPage] = []

        async def find(plan: Plan) -> Answer:
            require_real_retrieval(self.flag, tenant_id)
            page, found = await self.retrieval.export(plan, wanted, caller.deadline)
            pages.append(page)
            return found

        answer = await self.planning.read(caller, tenant_id, find)
        return pages[-1], answer

    async def reread(self, caller: CallContext, tenant_id: str) -> str:
        """Let the tenant's documents be read from the store anew; the version of the policy that allowed it."""
        plan, _ = await self.planning.act(
            caller,
            tenant_id,
            Action.CONFIGURE,
            lambda plan: self.retrieval.reread(plan, caller.deadline),
            anew=True,
        )
        return plan.policy_version
