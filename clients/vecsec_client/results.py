"""What calls send and answer, as immutable values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vecsec_client.several import Texts
from vecsec_client.values import Action, AttributeValue, MockReason, Provenance, Scalar, Sensitivity, SimilarityMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInput:
    """A passage to store. It has no tenant: that comes from the writer's token and the call."""

    document_id: str
    """Unique within its tenant and collection; a document with the same id is replaced."""
    text: str
    sensitivity: Sensitivity | str | None = None
    """Not above the writer's effective clearance. A document without one is rejected."""
    topics: Texts = ()
    """At least one; all within the writer's topic scope."""
    attributes: Mapping[str, AttributeValue | Sequence[str]] = field(default_factory=dict)
    """Further attributes of the label that the policy's schema declares."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    """The caller's own, for filters."""
    embedding: Sequence[float] = ()
    """As many numbers as the collection has dimensions; empty lets the collection's model embed the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredDocument(Document):
    """A document that a search found."""

    score: float
    """Similarity in [-1, 1] by the metric that the answer names; higher is nearer."""
    provenance: Provenance
    """Whether this row is real or made up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """The nearest documents that the caller may read."""

    results: tuple[ScoredDocument, ...]
    """Nearest first; fewer than asked for only if the caller may read no more."""
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

    @property
    def is_real(self) -> bool:
        """Whether every row was read from the vector store."""
        return self.provenance is Provenance.REAL and all(row.provenance is Provenance.REAL for row in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsAnswer:
    """The documents that exist and that the caller may read, in the order of the request."""

    documents: tuple[Document, ...]
    policy_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What was deleted."""

    deleted_count: int
    """A call that had to be tried again counts what its last try deleted."""
    policy_version: str = ""
    """The content hash of the policy that planned the deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A tenant's collection, as far as the caller may read it."""

    collection_id: str
    document_count: int
    """How many of its documents the caller may read."""
    embedding_model: str
    dimensions: int
    """How many numbers an embedding has."""
    metric: SimilarityMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """One label of a collection, and how many documents bear it."""

    collection_id: str
    tenant_id: str
    sensitivity: Sensitivity | None
    """None only if the service names a level that this version of the SDK does not know."""
    topics: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    document_count: int
    """At least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPage:
    """Some of a tenant's labels."""

    labels: tuple[LabelCount, ...]
    next_page_token: str
    """Where to go on; empty if this was the last page."""
    policy_version: str = ""
    """The content hash of the policy that planned the listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIdPage:
    """Some of a collection's document ids."""

    document_ids: tuple[str, ...]
    next_page_token: str
    """Where to go on; empty if this was the last page."""
    policy_version: str = ""
    """The content hash of the policy that planned the listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPage:
    """Some of all documents of a tenant that the caller may read, all of one collection."""

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
class DeterminingRule:
    """One rule that decided."""

    rule_id: str
    description: str
    text: str
    """The rule in Cedar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingValue:
    """One attribute that decided."""

    attribute: str
    """As rules write it, such as `principal.clearance`; Cedar's principal is the caller."""
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that could be otherwise."""

    attribute: str
    """As rules write it, such as `resource.sensitivity`."""
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationCounts:
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
class Violation:
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
class ViolationPage:
    """Some of a tenant's violations, from the audit log of the replica of the policy service that answered."""

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
class RejectedDocument:
    """A document that the services, or the checks before sending, refused; it was not stored."""

    index: int
    """Its place in the caller's iterable, from 0."""
    document_id: str
    field: str
    """The first bad field, such as `topics[1]`; empty where it is the document as a whole."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
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
class ShadowDisagreements:
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
class PolicyStatus:
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
