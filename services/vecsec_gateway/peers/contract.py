"""What the gateway's use cases know of the two services behind it: values, errors, and messages that pass through."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, TypeAlias

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import batch_pb2, collection_pb2, document_pb2, filter_pb2, label_pb2, query_pb2, source_pb2
from vecsec_chassis.domain.errors import Overloaded, PolicyUnavailable, RetrievalUnavailable
from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_gateway.peers.call import Deadline

# Messages that pass through as they are: the handlers make a peer's request of the caller's, and put its answer into
# theirs. Use cases hand them on; what they read of them is how much and which ids were asked for, and whose a label is.

# Retrieval's requests, complete but for the grant, which its client fills in.
Search: TypeAlias = retrieval_pb2.SearchDocumentsRequest
SearchBatch: TypeAlias = retrieval_pb2.SearchDocumentsBatchRequest
MetadataFilter: TypeAlias = filter_pb2.MetadataFilter
BatchQuery: TypeAlias = batch_pb2.BatchQuery
BY_VECTORS_ALONE: Final = query_pb2.SEARCH_MODE_VECTOR
Lookup: TypeAlias = retrieval_pb2.GetDocumentsRequest
Deletion: TypeAlias = retrieval_pb2.DeleteDocumentsRequest
Relabelling: TypeAlias = retrieval_pb2.RelabelDocumentsRequest
LabelPageRequest: TypeAlias = retrieval_pb2.ListLabelsRequest
ExportPageRequest: TypeAlias = retrieval_pb2.ExportDocumentsRequest
IdPageRequest: TypeAlias = retrieval_pb2.ListDocumentIdsRequest
SourcePageRequest: TypeAlias = retrieval_pb2.ListSourcesRequest
BatchToStore: TypeAlias = retrieval_pb2.ImportDocumentsRequest

# Retrieval's answers, and parts of them.
BatchStored: TypeAlias = retrieval_pb2.ImportDocumentsResponse
Relabelled: TypeAlias = retrieval_pb2.RelabelDocumentsResponse
Document: TypeAlias = document_pb2.Document
ScoredDocument: TypeAlias = document_pb2.ScoredDocument
QueryError: TypeAlias = batch_pb2.QueryError
LabelMessage: TypeAlias = label_pb2.Label
Collection: TypeAlias = collection_pb2.Collection
LabelPage: TypeAlias = retrieval_pb2.ListLabelsResponse
ExportPage: TypeAlias = retrieval_pb2.ExportDocumentsResponse
IdPage: TypeAlias = retrieval_pb2.ListDocumentIdsResponse
Source: TypeAlias = source_pb2.Source
SourcePage: TypeAlias = retrieval_pb2.ListSourcesResponse
StoredSize: TypeAlias = retrieval_pb2.GetStoredSizeResponse


class PolicyTimedOut(PolicyUnavailable):
    """The policy service did not answer in time. Callers need not tell it from being gone; retries do."""


class RetrievalTimedOut(RetrievalUnavailable):
    """Retrieval did not answer in time. Callers need not tell it from being gone; circuit and metrics do."""


class RetrievalGone(RetrievalUnavailable):
    """Retrieval cannot be reached, or is about to stop; to all tenants alike."""


class BusyHere(Overloaded):
    """A peer had no time to answer, for the call had waited here, or the gateway was late itself: the peer is not to
    blame."""

    def __init__(self, detail: str | None) -> None:
        super().__init__(
            "more is asked for than can be answered in time; try again later", retry_after=1.0, detail=detail
        )


class CircuitOpen(RetrievalUnavailable):
    """Retrieval failed repeatedly a moment ago, and is left alone for a while."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after, metadata={"circuit": "open"})


@dataclass(frozen=True, slots=True)
class CallContext:
    """On whose behalf the policy service is asked."""

    token: str
    """The caller's own, verified by us, and by the policy service again."""
    deadline: Deadline
    """Until when the answer is of use."""


class Provenance(StrEnum):
    """Where a row came from."""

    UNKNOWN = "unknown"
    REAL = "real"
    MOCK = "mock"


class MockReason(Enum):
    """Why an answer is made up; the values are metric labels."""

    FLAG_OFF = "flag_off"
    RETRIEVAL_FAILED = "retrieval_failed"
    CIRCUIT_OPEN = "circuit_open"


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way to the caller. What decides over it stands apart from what is only passed on."""

    document_id: str
    label: int
    """The place of its label among those of the answer."""
    score: float
    provenance: Provenance
    document: Document
    parts: ScoredDocument | None = None
    """As retrieval sent it, with what the score is made of; None where no search found the row."""
    query: int = 0
    """Which query of a batch it answers."""


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """What became of one query of a batch, beside its rows."""

    strategy: str = ""
    mode: SearchMode | None = None
    """None for made-up rows, and where there is an error."""
    error: QueryError | None = None
    """Why it could not be answered."""
    is_not_found: bool = False
    """Whether that is because the caller sees no such collection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows as they were found, or made up; then those of them that may be answered with."""

    rows: Sequence[Row]
    """Best first."""
    labels: Sequence[LabelMessage]
    """Of the rows that were found, each once."""
    strategy: str = ""
    """How retrieval searched, in its own words; empty unless the grant says that the caller may know."""
    mode: SearchMode | None = None
    """By what retrieval found them; None where it was no search, or the rows are made up."""
    mock_reason: MockReason | None = None
    """Why the rows are made up; None if they are real."""
    policy_version: str = ""
    """Of the policy that allowed the rows; empty until they are checked."""
    queries: Sequence[QueryOutcome] = ()
    """Of a batch, one a query."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of documents to store."""

    tenant_id: str
    to_store: BatchToStore
    labels: Sequence[LabelMessage]
    """The labels that the documents would have, each once."""
    label_of: Sequence[int]
    """The place of each document's label among them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller may do in a tenant, as the policy service signed it."""

    tenant_id: str
    grant: str
    lifetime: float
    """Seconds from when the plan arrived until the grant expires."""
    policy_version: str
    topics: tuple[str, ...]
    """The tenant's topic scope."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The policy service's word on labels, in their order."""

    allowed: Sequence[bool]
    policy_version: str
