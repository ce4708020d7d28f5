"""An import: batches pass through to retrieval as they come, under a grant that is renewed while they do."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import (
    AccessDenied,
    FieldViolation,
    InvalidGrant,
    InvalidRequest,
    RetrievalUnavailable,
    VecSecError,
)
from vecsec_gateway.peers.call import Deadline
from vecsec_gateway.peers.contract import Batch, BatchStored, BatchToStore, CallContext, Plan
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.use_cases.planning import grant_refused

_RENEWED_SHARE = 1 / 3
"""A grant is renewed once less than this share of its life is left."""
_PLANNING_SECONDS = 10.0
NOT_PLANNED = ""
"""In place of a policy version: no plan has let these labels through."""
_NOT_WRITABLE = (
    "may not be written by this caller, or has attributes or readers that the policy's schema does not declare so"
)
"""One answer for both: what the schema declares is not told to who may not write."""
_BATCHES_IN_FLIGHT = 1
"""The next batch is sent on when the one before is acknowledged. If retrieval refused a batch while the next one is
being written, grpc.aio (1.85) would lose the refusal: measured, one in five became INTERNAL. Storing a batch takes many
times as long as handing it over, and callers may have several on the way to us."""


class ImportDocuments:
    """Stores batches. It neither retries nor makes up: who is cut off knows what is durable, and resumes from there."""

    def __init__(self, policy: PolicyClient, retrieval: RetrievalClient) -> None:
        self._policy = policy
        self._retrieval = retrieval

    async def __call__(
        self, token: str, batches: AsyncIterator[Batch], deadline: Deadline | None
    ) -> AsyncGenerator[tuple[BatchStored, str], None]:
        """Pass batches on for the caller of this token; yields one acknowledgement for each, once it is
        durable, with the version of the policy that allowed it.

        Raises:
            AccessDenied, InvalidRequest, RetrievalUnavailable, …: after what was sent before is acknowledged.
        """
        first = await anext(batches, None)
        if first is None:
            return
        plan = await self._plan(token, first)
        window = asyncio.Semaphore(_BATCHES_IN_FLIGHT)
        versions: deque[str] = deque()
        acknowledged = 0
        # Closing the stream, for whatever reason, cancels the call to retrieval.
        async with aclosing(
            self._retrieval.store(
                plan.tenant_id,
                self._granted(token, first, plan, batches, window=window, versions=versions),
                deadline,
            )
        ) as acknowledgements:
            try:
                async for acknowledgement in acknowledgements:
                    acknowledged += 1
                    window.release()
                    yield acknowledgement, versions.popleft()
            except InvalidGrant as refusal:
                raise _grant_refused(refusal, acknowledged) from refusal

    async def _granted(
        self,
        token: str,
        first: Batch,
        plan: Plan,
        rest: AsyncIterator[Batch],
        *,
        window: asyncio.Semaphore,
        versions: deque[str],
    ) -> AsyncIterator[BatchToStore]:
        """The batches as they may be sent on; `versions` takes the policy version that allowed each."""
        await window.acquire()
        renew_at = _renewal(plan)
        versions.append(await self._require_writable(token, first))
        first.to_store.grant = plan.grant
        yield first.to_store
        async for batch in rest:
            _require_same_target(first, batch)
            await window.acquire()
            versions.append(await self._require_writable(token, batch))
            if renew_at.remaining() <= 0:
                plan = await self._plan(token, first)
                renew_at = _renewal(plan)
                batch.to_store.grant = plan.grant
            yield batch.to_store

    async def _require_writable(self, token: str, batch: Batch) -> str:
        """The policy in force now, whose version is returned, decides each label.

        What would be refused at every reading, such as an attribute that the schema does not declare, is not stored;
        and attempts to write above one's clearance are counted and audited. Retrieval holds the batch to the grant.
        """
        verdicts = await self._policy.check(
            _caller(token), batch.tenant_id, Action.WRITE, batch.labels, planned_policy_version=NOT_PLANNED
        )
        violations = [
            FieldViolation(f"documents[{position}]", _NOT_WRITABLE)
            for position, place in enumerate(batch.label_of)
            if not verdicts.allowed[place]
        ]
        if violations:
            raise AccessDenied("the policy does not let this caller write these documents", violations=violations)
        return verdicts.policy_version

    async def _plan(self, token: str, batch: Batch) -> Plan:
        return await self._policy.plan(_caller(token), batch.tenant_id, Action.WRITE)


def _caller(token: str) -> CallContext:
    return CallContext(token, Deadline.after(_PLANNING_SECONDS))


def _renewal(plan: Plan) -> Deadline:
    return Deadline.after(plan.lifetime * (1 - _RENEWED_SHARE))


def _grant_refused(refusal: InvalidGrant, acknowledged: int) -> VecSecError:
    if acknowledged == 0:
        return grant_refused(refusal)
    return RetrievalUnavailable(
        "the import was cut off; resume it after the last acknowledged batch",
        detail=f"the grant ran out before its batch was stored: {refusal.message}",
    )


def _require_same_target(first: Batch, batch: Batch) -> None:
    if batch.tenant_id != first.tenant_id:
        raise InvalidRequest.of("tenant_id", f"must be {first.tenant_id!r} in every request of this stream")
    if batch.to_store.collection_id != first.to_store.collection_id:
        raise InvalidRequest.of(
            "collection_id", f"must be {first.to_store.collection_id!r} in every request of this stream"
        )
