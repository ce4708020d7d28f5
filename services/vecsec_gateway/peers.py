"""What the gateway's use cases know of the two services behind it: values and protocols, no wire.

Documents, queries and filters are passed on as they came; the use cases read only what they decide by.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vecsec_chassis.access import Action
from vecsec_chassis.labels import Label
from vecsec_gateway.deadline import Deadline


class Provenance(StrEnum):
    """Where a row came from."""

    UNKNOWN = "unknown"
    REAL = "real"
    MOCK = "mock"


class Criteria(Protocol):
    """What to look for and on which condition; passed on unread."""

    def fingerprint(self) -> bytes:
        """The same bytes for the same query, different ones for different queries."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way to the caller. What decides over it stands apart from what is only passed on."""

    document_id: str
    label: Label
    score: float
    provenance: Provenance
    content: object
    """The document as retrieval sent it, which is passed on unread, or the text of a made-up row."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search."""

    tenant_id: str
    collection_id: str
    criteria: Criteria
    k: int
    include_embeddings: bool


@dataclass(frozen=True, slots=True)
class FoundRows:
    """What retrieval found."""

    rows: list[Row]
    strategy: str
    """How it searched, in its own words; empty unless the grant says that the caller may know."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Documents to read or to delete by id."""

    tenant_id: str
    collection_id: str
    document_ids: tuple[str, ...]
    include_embeddings: bool = False


@dataclass(frozen=True, slots=True)
class LabelPageRequest:
    """Which page of a tenant's labels is wanted."""

    tenant_id: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class IdPageRequest:
    """Which page of the ids of a collection's documents is wanted."""

    tenant_id: str
    collection_id: str
    page_size: int
    page_token: str


class Page(Protocol):
    """A page of labels or ids, passed on as retrieval sent it."""

    @property
    def next_page_token(self) -> str:
        """Where to go on; empty on the last page."""
        ...


class Collection(Protocol):
    """A tenant's collection, as retrieval described it; passed on unread."""

    collection_id: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of documents to store; the documents are passed on unread but for their labels."""

    tenant_id: str
    collection_id: str
    embedding_model: str
    documents: Sequence[object]
    labels: tuple[Label, ...]
    """The label that each document would have."""


@dataclass(frozen=True, slots=True)
class GrantedBatch:
    """A batch with a fresh grant, where the one sent before nears its end."""

    batch: Batch
    grant: str | None


@dataclass(frozen=True, slots=True)
class BatchStored:
    """One batch is durable."""

    batch_number: int
    """Which batch of the stream, counted from 1."""
    stored_count: int
    total_stored_count: int
    policy_version: str = ""
    """Of the policy that allowed the batch; retrieval does not know it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller may do in a tenant, as the policy service signed it."""

    grant: str
    lifetime: float
    """Seconds from when the plan arrived until the grant expires."""
    policy_version: str
    topics: tuple[str, ...]
    """The tenant's topic scope."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The policy service's word on rows, in their order."""

    allowed: tuple[bool, ...]
    policy_version: str


class Explanation(Protocol):
    """Why a row may or may not be touched, as the policy service put it; passed on unread."""

    incident_id: str


class ViolationCounts(Protocol):
    """A tenant's counts, as the policy service gave them; passed on unread."""

    denied_count: int


class PolicyStatus(Protocol):
    """Which policy decides over a tenant's rows, as the policy service put it; passed on unread."""

    policy_version: str


class ViolationQuestion(Protocol):
    """Which violations are asked about; passed on unread."""

    tenant_id: str


class ViolationListing(Protocol):
    """Some of a tenant's violations, as the policy service gave them; passed on unread."""

    next_page_token: str


class PolicyPeer(Protocol):
    """The policy service, asked with the current caller's own token.

    Every method raises PolicyUnavailable where it does not answer in time, and the policy's own errors as they are.
    """

    async def plan(self, tenant_id: str, action: Action, deadline: Deadline) -> Plan:
        """Which rows the caller could touch."""
        ...

    async def check(
        self,
        tenant_id: str,
        action: Action,
        labels: Sequence[Label],
        planned_policy_version: str,
        deadline: Deadline,
    ) -> Verdicts:
        """A verdict on each label by the policy in force now."""
        ...

    async def explain(self, tenant_id: str, action: Action, label: Label, deadline: Deadline) -> Explanation:
        """Whether the caller may touch a row with this label, and why."""
        ...

    async def count_violations(self, question: ViolationQuestion, deadline: Deadline) -> ViolationCounts:
        """How often the tenant's callers broke rules."""
        ...

    async def status(self, tenant_id: str, deadline: Deadline) -> PolicyStatus:
        """Which policy decides over a tenant's rows."""
        ...

    async def list_violations(self, question: ViolationQuestion, deadline: Deadline) -> ViolationListing:
        """Which rules the tenant's callers broke."""
        ...


class RetrievalPeer(Protocol):
    """The retrieval service. It learns nothing of the caller but the grant.

    Every method raises RetrievalUnavailable where it does not answer in time, and retrieval's own errors as they are.
    """

    async def search(self, grant: str, search: Search, deadline: Deadline) -> FoundRows:
        """The nearest rows, nearest first."""
        ...

    async def get(self, grant: str, lookup: Lookup, deadline: Deadline) -> list[Row]:
        """Rows by id."""
        ...

    async def delete(self, grant: str, lookup: Lookup, deadline: Deadline) -> int:
        """Delete by id; says how many were deleted."""
        ...

    async def list_collections(self, grant: str, tenant_id: str, deadline: Deadline) -> Sequence[Collection]:
        """The tenant's collections that hold documents visible under the grant."""
        ...

    async def list_labels(self, grant: str, page: LabelPageRequest, deadline: Deadline) -> Page:
        """A page of the labels that the grant sees."""
        ...

    async def list_document_ids(self, grant: str, page: IdPageRequest, deadline: Deadline) -> Page:
        """A page of the ids of documents that the grant sees."""
        ...

    async def reread(self, grant: str, tenant_id: str, deadline: Deadline) -> None:
        """Let the tenant's documents be read from the store anew."""
        ...

    def store(self, batches: AsyncIterator[GrantedBatch]) -> AsyncGenerator[BatchStored, None]:
        """Store batches as they come. An error of `batches` ends the stream after what was sent before is durable."""
        ...


class Flag(Protocol):
    """The shared flag."""

    def is_on(self, tenant_id: str) -> bool:
        """Whether real rows may be read for this tenant."""
        ...
