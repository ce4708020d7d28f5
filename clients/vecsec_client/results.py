"""What calls send and answer, as immutable values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from vecsec_client.several import Texts
from vecsec_client.shapes import Rows, Table, Value
from vecsec_client.sources import SourcePassage
from vecsec_client.values import (
    Action,
    AttributeValue,
    MockReason,
    Provenance,
    Scalar,
    SearchMode,
    Sensitivity,
    SensitivityWord,
    SimilarityMetric,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInput:
    """A passage to store. It has no tenant: that comes from the writer's token and the call."""

    document_id: str
    """Unique within its tenant and collection; a document with the same id is replaced."""
    text: str
    sensitivity: Sensitivity | SensitivityWord | None = None
    """Not above the writer's effective clearance. A document without one is rejected."""
    topics: Texts = ()
    """At least one; all within the writer's topic scope."""
    attributes: Mapping[str, AttributeValue | Sequence[str]] = field(default_factory=dict)
    """Further attributes of the label that the policy's schema declares."""
    readers: Texts | None = None
    """Who alone may read it, such as "user:alice" or "group:finance"; None for all whom the other rules let through."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """The caller's own, for filters."""
    embedding: Sequence[float] = ()
    """As many numbers as the collection has dimensions; empty lets the collection's model embed the text."""
    source: SourcePassage | None = None
    """What it is a passage of; None for a document by itself. See `whole_sources` of an import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Value):
    """A stored passage, as a reader gets it."""

    document_id: str
    text: str
    tenant_id: str
    sensitivity: Sensitivity | None
    """None only if the service names a level that this version of the SDK does not know."""
    topics: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    metadata: Mapping[str, Scalar]
    embedding: tuple[float, ...]
    """Empty unless asked for, which only a role that may configure can."""
    readers: tuple[str, ...] | None = None
    """Who alone may read it; None for all whom the other rules let through."""
    source: SourcePassage | None = None
    """What it is a passage of; None where it was stored as none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredDocument(Document):
    """A document that a search found."""

    score: float
    """How well it fits, by the metric that the answer names; higher is better."""
    provenance: Provenance
    """Whether this row is real or made up."""
    vector_score: float | None = None
    """The cosine similarity, in [-1, 1]; None where vectors were not looked at."""
    text_score: float | None = None
    """BM25 of the words in common; None where there are none, or words were not looked at."""
    vector_rank: int | None = None
    """Its place among the nearest, from 1; None if it is not among those that were ranked."""
    text_rank: int | None = None
    """Its place among those with words in common, from 1; None if it is not among those that were ranked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer(Table[ScoredDocument], Value):
    """The nearest documents that the caller may read."""

    ROWS: ClassVar[str] = "results"

    results: tuple[ScoredDocument, ...]
    """Best first; fewer than asked for only if the caller may read no more, or no more have the words."""
    provenance: Provenance
    """Whether the rows are real or made up."""
    mock_reason: MockReason | None
    """Why they are made up; None if they are real."""
    metric: SimilarityMetric
    policy_version: str
    """The content hash of the policy that checked the rows."""
    request_id: str
    """The id under which logs, traces and the audit record have this search."""
    strategy: str = ""
    """How the search was run, such as "exact_scan"; empty unless the caller may configure the tenant."""
    mode: SearchMode | None = None
    """By what the documents were found; None for made-up rows, and if the services are too old to say."""

    @property
    def is_real(self) -> bool:
        """Whether every row was read from the vector store."""
        return self.provenance is Provenance.REAL and all(row.provenance is Provenance.REAL for row in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFailure(Value):
    """Why one query of a batch could not be answered: what a single search would have failed with."""

    reason: str
    """Which fact, by the names of `vecsec.type.v1.ErrorReason` without their prefix."""
    message: str
    fields: Mapping[str, str]
    """The bad fields of the query, by their paths in it, and what is wrong with each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswer(Table[ScoredDocument], Value):
    """What one query of a batch found."""

    ROWS: ClassVar[str] = "results"

    results: tuple[ScoredDocument, ...]
    """Best first; fewer than asked for only if the caller may read no more, or no more have the words looked for."""
    failure: QueryFailure | None = None
    """Set if this query could not be answered, and then there are no results."""
    metric: SimilarityMetric | None = None
    """What the scores mean; None where there is a failure."""
    mode: SearchMode | None = None
    """By what the documents were found; None for made-up rows, and where there is a failure."""
    strategy: str = ""
    """How the query was run, such as "exact_scan"; empty unless the caller may configure the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer(Table[QueryAnswer], Value):
    """What the queries of a batch found, in their order."""

    ROWS: ClassVar[str] = "answers"

    answers: tuple[QueryAnswer, ...]
    provenance: Provenance
    """Whether the rows are real or made up."""
    mock_reason: MockReason | None
    """Why they are made up; None if they are real."""
    policy_version: str
    """The content hash of the policy that checked the rows."""
    request_id: str
    """The id under which logs, traces and the audit record have this batch."""

    @property
    def is_real(self) -> bool:
        """Whether every row was read from the vector store."""
        rows = (row for answer in self.answers for row in answer.results)
        return self.provenance is Provenance.REAL and all(row.provenance is Provenance.REAL for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsAnswer(Table[Document], Value):
    """The documents that exist and that the caller may read, in the order of the request."""

    ROWS: ClassVar[str] = "documents"

    documents: tuple[Document, ...]
    policy_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult(Value):
    """What was deleted."""

    deleted_count: int
    """Of a dry run, how many it would be. A call that had to be tried again counts what its last try deleted."""
    policy_version: str = ""
    """The content hash of the policy that planned the deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelResult(Value):
    """What was relabelled."""

    relabelled_count: int
    """How many documents have another label now, or would have after a dry run. A call that had to be tried again
    counts what its last try changed."""
    policy_version: str = ""
    """The content hash of the policy that allowed the new labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Value):
    """A tenant's collection, as far as the caller may read it."""

    collection_id: str
    document_count: int
    """How many of its documents the caller may read."""
    embedding_model: str
    dimensions: int
    """How many numbers an embedding has."""
    metric: SimilarityMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount(Value):
    """One label of a collection, and how many documents bear it."""

    collection_id: str
    tenant_id: str
    sensitivity: Sensitivity | None
    """None only if the service names a level that this version of the SDK does not know."""
    topics: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    document_count: int
    """At least one."""
    readers: tuple[str, ...] | None = None
    """Who alone may read them; None for all whom the other rules let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPage(Table[LabelCount], Value):
    """Some of a tenant's labels."""

    ROWS: ClassVar[str] = "labels"

    labels: tuple[LabelCount, ...]
    next_page_token: str
    """Where to go on; empty if this was the last page."""
    policy_version: str = ""
    """The content hash of the policy that planned the listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIdPage(Rows[str], Value):
    """Some of a collection's document ids."""

    ROWS: ClassVar[str] = "document_ids"

    document_ids: tuple[str, ...]
    next_page_token: str
    """Where to go on; empty if this was the last page."""
    policy_version: str = ""
    """The content hash of the policy that planned the listing."""
    document_count: int | None = None
    """How many documents there are altogether; None if it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPage(Table[Document], Value):
    """Some of all documents of a tenant that the caller may read, all of one collection."""

    ROWS: ClassVar[str] = "documents"

    documents: tuple[Document, ...]
    """With their embeddings."""
    collection_id: str
    """Empty if there are no more."""
    embedding_model: str
    moment: str
    """What they are of; empty where the store can hold no moment (a ChromaDB server), and each page is of its own."""
    next_page_token: str
    """Where to go on; empty if this was the last page."""
    policy_version: str = ""
    """The content hash of the policy that checked the documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeterminingRule(Value):
    """One rule that decided."""

    rule_id: str
    description: str
    text: str
    """The rule in Cedar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingValue(Value):
    """One attribute that decided."""

    attribute: str
    """As rules write it, such as `principal.clearance`; Cedar's principal is the caller."""
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Value):
    """One thing that could be otherwise."""

    attribute: str
    """As rules write it, such as `resource.sensitivity`."""
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRole(Value):
    """Callers of a role who could read a row."""

    role: str
    least_clearance: Sensitivity | None
    """How far they have to be cleared, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedReader(Value):
    """Somebody whom a row names as a reader."""

    name: str
    """As the row names them, such as `group:finance`."""
    people: tuple[str, ...]
    """The people of a group by `memberships.yaml`, some of them if they are many; tokens may say that there are others.
    Empty for callers of another tenant."""
    people_count: int
    """How many there are by `memberships.yaml`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleReaders(Value):
    """Who could read a row, of those in its tenant: whoever has one of the roles and, if it names readers, is one."""

    roles: tuple[ReadingRole, ...]
    is_limited: bool
    """Whether the row names its readers."""
    named_readers: tuple[NamedReader, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(Value):
    """Whether the caller may touch a row with a given label."""

    allowed: bool
    incident_id: str
    """Quote this to an administrator: the audit record has it."""
    policy_version: str
    determining_rules: tuple[DeterminingRule, ...]
    """The rules that decided; empty, like all that follows, unless the caller may configure the tenant."""
    deciding_values: tuple[DecidingValue, ...] = ()
    """What these rules look at, as it was."""
    remedies: tuple[tuple[Change, ...], ...] = ()
    """What would have allowed it, the smallest change first; each remedy is one change or two to be made together."""
    tried_changes: int = 0
    """How many changes, alone and in pairs, the policy service tried; 0 for what is allowed."""
    possible_readers: PossibleReaders | None = None
    """Who could read the row; None unless it was asked about reading by a caller who may configure the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationCounts(Value):
    """A tenant's counts, from the audit log of the replica of the policy service that answered."""

    counts: Mapping[str, int]
    """By the names of `ViolationType`; kinds that were asked for and never happened are there with 0."""
    denied_count: int
    """How many calls were refused."""
    since: datetime
    """When the oldest record of the audit log was written (UTC): nothing is known from before."""
    replica_id: str
    """Whose audit log was read."""
    policy_version: str = ""
    """By which the caller might ask; empty from services that do not say yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation(Value):
    """A violation by one call; several rows of a call that broke the same kind of rule are one violation."""

    violation_type: str
    """A value of `ViolationType`."""
    count: int
    """How often the call broke the rule."""
    time: datetime
    """UTC."""
    incident_id: str
    """Of the audit record."""
    request_id: str
    """The id under which logs and traces have the call."""
    subject: str
    """Who called."""
    role: str
    requested_tenant_id: str
    """The tenant that the caller asked for."""
    action: Action | None
    """None only if the service names an action that this version of the SDK does not know."""
    policy_version: str
    """The content hash of the policy that decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationPage(Table[Violation], Value):
    """Some of a tenant's violations, from the audit log of the replica of the policy service that answered."""

    ROWS: ClassVar[str] = "violations"

    violations: tuple[Violation, ...]
    next_page_token: str
    """Goes on behind these, also behind the last one: asking again with it shows what came since."""
    has_more: bool
    """Whether there are more already."""
    replica_id: str
    """Whose audit log was read."""
    policy_version: str = ""
    """By which the caller might ask; empty from services that do not say yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAccess(Value):
    """What a caller of another tenant was let do in this one, or did."""

    kind: str
    """`grant` (was given one), `use` (calls that read, stored or deleted), or a question about the tenant: `explain`,
    `count`, `list`, `status`."""
    time: datetime
    """UTC; of a use, when the last of its calls was."""
    caller_tenant_id: str
    """The caller's own tenant."""
    subject: str
    role: str
    action: Action | None
    """What the caller was allowed to do; None only if this version of the SDK does not know it."""
    call_count: int
    """How many calls; 0 for a grant."""
    row_count: int
    """How many rows, or ids of rows, these calls gave, stored or deleted."""
    incident_id: str
    """Of the audit record."""
    policy_version: str
    """The content hash of the policy that allowed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAccessPage(Table[ForeignAccess], Value):
    """What callers of other tenants did, from the audit log of the replica of the policy service that answered."""

    ROWS: ClassVar[str] = "accesses"

    accesses: tuple[ForeignAccess, ...]
    next_page_token: str
    """Goes on behind these, also behind the last one: asking again with it shows what came since."""
    has_more: bool
    """Whether there are more already."""
    since: datetime
    """When the oldest record of the audit log was written (UTC): nothing is known from before."""
    replica_id: str
    """Whose audit log was read."""
    policy_version: str
    """By which the caller might ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedDocument(Value):
    """A document that the services, or the checks before sending, refused; it was not stored."""

    index: int
    """Its place in the caller's iterable, from 0."""
    document_id: str
    field: str
    """The first bad field, such as `topics[1]`; empty where it is the document as a whole."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress(Value):
    """How far an import is, told after each batch that is settled: durable, or rejected."""

    settled_count: int
    """How many documents, from the first of the iterable, are settled: a cut-off import can start again here."""
    stored_count: int
    """How many documents this import has stored so far."""
    rejected_count: int
    """How many it has rejected so far."""
    rejected: tuple[RejectedDocument, ...]
    """Those that were rejected since the last progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary(Value):
    """What an import did, all of it."""

    stored_count: int
    """How many documents are stored and durable."""
    rejected_count: int
    """How many were refused."""
    rejected: tuple[RejectedDocument, ...]
    """Those that were refused, the first 1,000 of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowDisagreements(Value):
    """How often a candidate policy in the shadow would have decided otherwise."""

    entries_gained: int
    """Calls that it would have let into the tenant."""
    entries_lost: int
    """Calls that it would have turned away."""
    rows_gained: int
    """Rows that it would have let through, among those that were found."""
    rows_lost: int
    """Rows that it would have withheld."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatus(Value):
    """Which policy decides over a tenant's rows, by the word of the replica that answered."""

    policy_version: str
    """The content hash of the policy that decides."""
    loaded: datetime
    """When that replica loaded it."""
    candidate_version: str
    """The content hash of the candidate; empty if none is being rolled out."""
    is_promoted: bool
    """Whether the candidate decides over this tenant's rows."""
    shadow_share: float
    """The share of this tenant's calls, 0 to 1, that the candidate decides too, without effect."""
    disagreements: ShadowDisagreements
    is_reload_failing: bool
    """Whether changed files are not in force because something is wrong with them."""


@dataclass(frozen=True, slots=True)
class TenantUsage(Value):
    """What a tenant uses of what it may. Rates and calls are those of the gateway that answered."""

    rows: int
    """That are stored."""
    bytes: int | None
    """On the disk; None where the store is on another machine."""
    searches_per_second: float
    """In the last ten seconds; dear calls count as several."""
    concurrent_calls: int
    import_rows_per_second: float
    """In the last ten seconds."""
    refused_count: int
    """Calls that were refused for a limit in the last ten seconds."""
    limits: Mapping[str, float]
    """What it may, by the names of the fields above, and `caller_units_per_second` for the dear calls of one caller."""
    gateway_replicas: int
    """By how many the limits of rates and calls are divided at each gateway."""
    policy_version: str
