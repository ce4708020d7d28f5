"""Each unary call as a value: what to send and how to read the answer. Both clients carry them out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from google.protobuf.message import Message

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2, query_pb2
from vecsec_client.filters import MetadataFilter
from vecsec_client.results import (
    Change,
    Collection,
    DecidingValue,
    DeleteResult,
    DeterminingRule,
    DocumentIdPage,
    DocumentsAnswer,
    Explanation,
    LabelPage,
    PolicyStatus,
    SearchAnswer,
    ShadowDisagreements,
    Violation,
    ViolationCounts,
    ViolationPage,
)
from vecsec_client.several import Several, Texts, several
from vecsec_client.values import Action, AttributeValue, Fallback, MockReason, Provenance, Sensitivity, ViolationType
from vecsec_client.wire.filters import filter_to_proto
from vecsec_client.wire.values import (
    action_number,
    document_from_proto,
    label_count_from_proto,
    label_to_proto,
    metric_from_proto,
    naming,
    provenance_from_proto,
    scored_document_from_proto,
    word,
)

ResultT = TypeVar("ResultT")
ResponseT = TypeVar("ResponseT", bound=Message)

_MOCK_REASON_OF_NUMBER: Mapping[int, MockReason] = {
    gateway_pb2.MockReason.Value(reason.value): reason for reason in MockReason
}
_VIOLATION_NAME_OF_NUMBER: Mapping[int, str] = {
    access_pb2.ViolationType.Value(f"VIOLATION_TYPE_{violation.value.upper()}"): violation.value
    for violation in ViolationType
}
_ACTION_OF_NUMBER: Mapping[int, Action] = {access_pb2.Action.Value(f"ACTION_{each.name}"): each for each in Action}


@dataclass(frozen=True, slots=True)
class Exchange(Generic[ResponseT, ResultT]):
    """One call: the method's name in the gateway's stub, the request, and how its answer becomes a result."""

    method: str
    request: Message
    read: Callable[[ResponseT], ResultT]


def search(
    query: str | Sequence[float],
    *,
    tenant_id: str,
    k: int,
    collection_id: str,
    condition: MetadataFilter | None,
    include_embeddings: bool,
    fallback: Fallback | str,
) -> Exchange[gateway_pb2.SearchDocumentsResponse, SearchAnswer]:
    """A search by text or by vector."""
    request = gateway_pb2.SearchDocumentsRequest(
        include_embeddings=include_embeddings,
        fallback=gateway_pb2.Fallback.Value(f"FALLBACK_{word(Fallback, fallback, 'fallback').name}"),
    )
    _address(request, tenant_id, collection_id)
    with naming("k"):
        request.k = k
    if isinstance(query, str):
        with naming("query.text"):
            request.query.text = query
    else:
        with naming("query.vector.values"):
            request.query.vector.CopyFrom(query_pb2.Vector(values=[float(value) for value in query]))
    if condition is not None:
        request.filter.CopyFrom(filter_to_proto(condition))
    return Exchange("SearchDocuments", request, _search_answer)


def get_documents(
    document_ids: Texts, *, tenant_id: str, collection_id: str, include_embeddings: bool
) -> Exchange[gateway_pb2.GetDocumentsResponse, DocumentsAnswer]:
    """Documents by id."""
    request = gateway_pb2.GetDocumentsRequest(include_embeddings=include_embeddings)
    _address(request, tenant_id, collection_id)
    with naming("document_ids"):
        request.document_ids.extend(several(document_ids))
    return Exchange("GetDocuments", request, _documents_answer)


def delete_documents(
    document_ids: Texts, *, tenant_id: str, collection_id: str
) -> Exchange[gateway_pb2.DeleteDocumentsResponse, DeleteResult]:
    """Deletion by id."""
    request = gateway_pb2.DeleteDocumentsRequest()
    _address(request, tenant_id, collection_id)
    with naming("document_ids"):
        request.document_ids.extend(several(document_ids))
    return Exchange("DeleteDocuments", request, _delete_result)


def list_collections(*, tenant_id: str) -> Exchange[gateway_pb2.ListCollectionsResponse, tuple[Collection, ...]]:
    """A tenant's collections."""
    request = gateway_pb2.ListCollectionsRequest()
    with naming("tenant_id"):
        request.tenant_id = tenant_id
    return Exchange("ListCollections", request, _collections)


def list_labels(
    *, tenant_id: str, page_size: int, page_token: str
) -> Exchange[gateway_pb2.ListLabelsResponse, LabelPage]:
    """A page of a tenant's labels."""
    request = gateway_pb2.ListLabelsRequest()
    for name, value in (("tenant_id", tenant_id), ("page_size", page_size), ("page_token", page_token)):
        with naming(name):
            setattr(request, name, value)
    return Exchange("ListLabels", request, _label_page)


def reread_tenant(*, tenant_id: str) -> Exchange[gateway_pb2.RereadTenantResponse, str]:
    """A tenant's documents, read from the store anew; the policy's version."""
    request = gateway_pb2.RereadTenantRequest()
    with naming("tenant_id"):
        request.tenant_id = tenant_id
    return Exchange("RereadTenant", request, lambda response: response.policy_version)


def list_document_ids(
    *, tenant_id: str, collection_id: str, page_size: int, page_token: str
) -> Exchange[gateway_pb2.ListDocumentIdsResponse, DocumentIdPage]:
    """A page of the ids of a collection's documents."""
    request = gateway_pb2.ListDocumentIdsRequest()
    _address(request, tenant_id, collection_id)
    for name, value in (("page_size", page_size), ("page_token", page_token)):
        with naming(name):
            setattr(request, name, value)
    return Exchange("ListDocumentIds", request, _document_id_page)


def explain_access(
    *,
    tenant_id: str,
    action: Action | str,
    label_tenant_id: str,
    sensitivity: Sensitivity | str,
    topics: Texts,
    attributes: Mapping[str, AttributeValue | Sequence[str]],
) -> Exchange[gateway_pb2.ExplainAccessResponse, Explanation]:
    """A question about a row with a given label."""
    label = label_to_proto(tenant_id=label_tenant_id, sensitivity=sensitivity, topics=topics, attributes=attributes)
    request = gateway_pb2.ExplainAccessRequest(action=action_number(action), label=label)
    with naming("tenant_id"):
        request.tenant_id = tenant_id
    return Exchange("ExplainAccess", request, _explanation)


def policy_status(*, tenant_id: str) -> Exchange[gateway_pb2.GetPolicyStatusResponse, PolicyStatus]:
    """Which policy decides over a tenant's rows."""
    request = gateway_pb2.GetPolicyStatusRequest()
    with naming("tenant_id"):
        request.tenant_id = tenant_id
    return Exchange("GetPolicyStatus", request, _policy_status)


@dataclass(frozen=True, slots=True)
class ViolationFilter:
    """Which violations are meant."""

    tenant_id: str
    types: Several[ViolationType | str]
    """Empty for all."""
    start: datetime | None
    """With a time zone, or in this machine's."""
    end: datetime | None

    def fill(self, request: gateway_pb2.CountViolationsRequest | gateway_pb2.ListViolationsRequest) -> None:
        """Say so in a request."""
        with naming("tenant_id"):
            request.tenant_id = self.tenant_id
        with naming("violation_types"):
            types = several(self.types)
        for violation in types:
            name = word(ViolationType, violation, "violation_types").value.upper()
            request.violation_types.append(access_pb2.ViolationType.Value(f"VIOLATION_TYPE_{name}"))
        if self.start is not None:
            with naming("start_time"):
                request.start_time.FromDatetime(self.start.astimezone(UTC))
        if self.end is not None:
            with naming("end_time"):
                request.end_time.FromDatetime(self.end.astimezone(UTC))


def count_violations(wanted: ViolationFilter) -> Exchange[gateway_pb2.CountViolationsResponse, ViolationCounts]:
    """A tenant's violation counts."""
    request = gateway_pb2.CountViolationsRequest()
    wanted.fill(request)
    asked = [each for each in ViolationType if not wanted.types or each in wanted.types]
    return Exchange("CountViolations", request, lambda response: _violation_counts(response, asked))


def list_violations(
    wanted: ViolationFilter, *, page_size: int, page_token: str, newest_first: bool
) -> Exchange[gateway_pb2.ListViolationsResponse, ViolationPage]:
    """Some of a tenant's violations."""
    request = gateway_pb2.ListViolationsRequest(newest_first=newest_first)
    wanted.fill(request)
    with naming("page_size"):
        request.page_size = page_size
    with naming("page_token"):
        request.page_token = page_token
    return Exchange("ListViolations", request, _violation_page)


def _address(
    request: gateway_pb2.SearchDocumentsRequest
    | gateway_pb2.GetDocumentsRequest
    | gateway_pb2.DeleteDocumentsRequest
    | gateway_pb2.ImportDocumentsRequest
    | gateway_pb2.ListDocumentIdsRequest,
    tenant_id: str,
    collection_id: str,
) -> None:
    with naming("tenant_id"):
        request.tenant_id = tenant_id
    with naming("collection_id"):
        request.collection_id = collection_id


def import_request(*, tenant_id: str, collection_id: str, embedding_model: str) -> gateway_pb2.ImportDocumentsRequest:
    """A request of an import without its documents: what all batches of a stream share."""
    request = gateway_pb2.ImportDocumentsRequest()
    _address(request, tenant_id, collection_id)
    with naming("embedding_model"):
        request.embedding_model = embedding_model
    return request


def _search_answer(response: gateway_pb2.SearchDocumentsResponse) -> SearchAnswer:
    provenance = provenance_from_proto(response.provenance)
    reason = _MOCK_REASON_OF_NUMBER.get(response.mock_reason, MockReason.UNSPECIFIED)
    return SearchAnswer(
        results=tuple(scored_document_from_proto(row) for row in response.results),
        provenance=provenance,
        mock_reason=None if provenance is Provenance.REAL else reason,
        metric=metric_from_proto(response.metric),
        policy_version=response.policy_version,
        request_id=response.request_id,
        strategy=response.strategy,
    )


def _documents_answer(response: gateway_pb2.GetDocumentsResponse) -> DocumentsAnswer:
    return DocumentsAnswer(
        documents=tuple(document_from_proto(document) for document in response.documents),
        policy_version=response.policy_version,
    )


def _delete_result(response: gateway_pb2.DeleteDocumentsResponse) -> DeleteResult:
    return DeleteResult(deleted_count=response.deleted_count, policy_version=response.policy_version)


def _collections(response: gateway_pb2.ListCollectionsResponse) -> tuple[Collection, ...]:
    return tuple(
        Collection(
            collection_id=each.collection_id,
            document_count=each.document_count,
            embedding_model=each.embedding_model,
            dimensions=each.dimensions,
            metric=metric_from_proto(each.metric),
        )
        for each in response.collections
    )


def _label_page(response: gateway_pb2.ListLabelsResponse) -> LabelPage:
    return LabelPage(
        labels=tuple(label_count_from_proto(each) for each in response.labels),
        next_page_token=response.next_page_token,
        policy_version=response.policy_version,
    )


def _document_id_page(response: gateway_pb2.ListDocumentIdsResponse) -> DocumentIdPage:
    return DocumentIdPage(
        document_ids=tuple(response.document_ids),
        next_page_token=response.next_page_token,
        policy_version=response.policy_version,
    )


def _explanation(response: gateway_pb2.ExplainAccessResponse) -> Explanation:
    explanation: policy_pb2.ExplainAccessResponse = response.explanation
    return Explanation(
        allowed=explanation.decision == access_pb2.DECISION_ALLOW,
        incident_id=explanation.incident_id,
        policy_version=explanation.policy_version,
        determining_rules=tuple(
            DeterminingRule(rule_id=rule.rule_id, description=rule.description, text=rule.text)
            for rule in explanation.determining_rules
        ),
        deciding_values=tuple(
            DecidingValue(attribute=each.attribute, value=each.value) for each in explanation.deciding_values
        ),
        remedies=tuple(
            tuple(Change(attribute=each.attribute, before=each.before, after=each.after) for each in remedy.changes)
            for remedy in explanation.remedies
        ),
        tried_changes=explanation.tried_changes,
    )


def _policy_status(response: gateway_pb2.GetPolicyStatusResponse) -> PolicyStatus:
    status: policy_pb2.GetPolicyStatusResponse = response.status
    return PolicyStatus(
        policy_version=status.policy_version,
        loaded=status.load_time.ToDatetime(tzinfo=UTC),
        candidate_version=status.candidate_version,
        is_promoted=status.is_promoted,
        shadow_share=status.shadow_share,
        disagreements=ShadowDisagreements(
            entries_gained=status.disagreements.entries_gained,
            entries_lost=status.disagreements.entries_lost,
            rows_gained=status.disagreements.rows_gained,
            rows_lost=status.disagreements.rows_lost,
        ),
        is_reload_failing=status.is_reload_failing,
    )


def _violation_counts(response: gateway_pb2.CountViolationsResponse, asked: Iterable[ViolationType]) -> ViolationCounts:
    counts = {violation.value: 0 for violation in asked}
    for each in response.counts.violations:
        name = _VIOLATION_NAME_OF_NUMBER.get(each.violation_type, f"unknown_{each.violation_type}")
        counts[name] = each.count
    return ViolationCounts(
        counts=counts,
        denied_count=response.counts.denied_count,
        since=response.counts.since_time.ToDatetime(tzinfo=UTC),
        replica_id=response.counts.replica_id,
        policy_version=response.counts.policy_version,
    )


def _violation_page(response: gateway_pb2.ListViolationsResponse) -> ViolationPage:
    listing: policy_pb2.ListViolationsResponse = response.listing
    return ViolationPage(
        violations=tuple(
            Violation(
                violation_type=_VIOLATION_NAME_OF_NUMBER.get(each.violation_type, f"unknown_{each.violation_type}"),
                count=each.count,
                time=each.time.ToDatetime(tzinfo=UTC),
                incident_id=each.incident_id,
                request_id=each.request_id,
                subject=each.subject,
                role=each.role,
                requested_tenant_id=each.requested_tenant_id,
                action=_ACTION_OF_NUMBER.get(each.action),
                policy_version=each.policy_version,
            )
            for each in listing.violations
        ),
        next_page_token=listing.next_page_token,
        has_more=listing.has_more,
        replica_id=listing.replica_id,
        policy_version=listing.policy_version,
    )
