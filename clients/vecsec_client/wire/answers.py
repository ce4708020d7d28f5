"""From the gateway's answers to results. Fields that both call the same are taken over as they are."""

from collections.abc import Iterable, Mapping
from datetime import UTC

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2
from vecsec_client.results import (
    Change,
    Collection,
    DecidingValue,
    DeleteResult,
    DeterminingRule,
    DocumentIdPage,
    DocumentsAnswer,
    Explanation,
    ExportPage,
    LabelPage,
    PolicyStatus,
    SearchAnswer,
    ShadowDisagreements,
    Violation,
    ViolationCounts,
    ViolationPage,
)
from vecsec_client.values import Action, MockReason, Provenance, ViolationType
from vecsec_client.wire.values import (
    document_from_proto,
    label_count_from_proto,
    metric_from_proto,
    provenance_from_proto,
    result,
    scored_document_from_proto,
)

_MOCK_REASON_OF_NUMBER: Mapping[int, MockReason] = {
    gateway_pb2.MockReason.Value(reason.value): reason for reason in MockReason
}
_VIOLATION_NAME_OF_NUMBER: Mapping[int, str] = {
    access_pb2.ViolationType.Value(f"VIOLATION_TYPE_{violation.value.upper()}"): violation.value
    for violation in ViolationType
}
_ACTION_OF_NUMBER: Mapping[int, Action] = {access_pb2.Action.Value(f"ACTION_{each.name}"): each for each in Action}


def search_answer(response: gateway_pb2.SearchDocumentsResponse) -> SearchAnswer:
    """What a search found."""
    provenance = provenance_from_proto(response.provenance)
    reason = _MOCK_REASON_OF_NUMBER.get(response.mock_reason, MockReason.UNSPECIFIED)
    return result(
        SearchAnswer,
        response,
        results=tuple(scored_document_from_proto(row) for row in response.results),
        provenance=provenance,
        mock_reason=None if provenance is Provenance.REAL else reason,
        metric=metric_from_proto(response.metric),
    )


def documents_answer(response: gateway_pb2.GetDocumentsResponse) -> DocumentsAnswer:
    """Documents by id."""
    return result(DocumentsAnswer, response, documents=tuple(map(document_from_proto, response.documents)))


def delete_result(response: gateway_pb2.DeleteDocumentsResponse) -> DeleteResult:
    """What was deleted."""
    return result(DeleteResult, response)


def collections(response: gateway_pb2.ListCollectionsResponse) -> tuple[Collection, ...]:
    """A tenant's collections."""
    return tuple(result(Collection, each, metric=metric_from_proto(each.metric)) for each in response.collections)


def label_page(response: gateway_pb2.ListLabelsResponse) -> LabelPage:
    """A page of a tenant's labels."""
    return result(LabelPage, response, labels=tuple(map(label_count_from_proto, response.labels)))


def document_id_page(response: gateway_pb2.ListDocumentIdsResponse) -> DocumentIdPage:
    """A page of the ids of a collection's documents."""
    return result(DocumentIdPage, response, document_ids=tuple(response.document_ids))


def export_page(response: gateway_pb2.ExportDocumentsResponse) -> ExportPage:
    """A page of all documents."""
    return result(ExportPage, response, documents=tuple(map(document_from_proto, response.documents)))


def explanation(response: gateway_pb2.ExplainAccessResponse) -> Explanation:
    """Whether and why."""
    told: policy_pb2.ExplainAccessResponse = response.explanation
    return result(
        Explanation,
        told,
        allowed=told.decision == access_pb2.DECISION_ALLOW,
        determining_rules=tuple(result(DeterminingRule, rule) for rule in told.determining_rules),
        deciding_values=tuple(result(DecidingValue, each) for each in told.deciding_values),
        remedies=tuple(tuple(result(Change, each) for each in remedy.changes) for remedy in told.remedies),
    )


def policy_status(response: gateway_pb2.GetPolicyStatusResponse) -> PolicyStatus:
    """Which policy decides over a tenant's rows."""
    status: policy_pb2.GetPolicyStatusResponse = response.status
    return result(
        PolicyStatus,
        status,
        loaded=status.load_time.ToDatetime(tzinfo=UTC),
        disagreements=result(ShadowDisagreements, status.disagreements),
    )


def violation_counts(response: gateway_pb2.CountViolationsResponse, asked: Iterable[ViolationType]) -> ViolationCounts:
    """A tenant's violation counts; 0 for those of the kinds that were asked for of which there are none."""
    found = {_violation_name(each.violation_type): each.count for each in response.counts.violations}
    return result(
        ViolationCounts,
        response.counts,
        counts={violation.value: 0 for violation in asked} | found,
        since=response.counts.since_time.ToDatetime(tzinfo=UTC),
    )


def violation_page(response: gateway_pb2.ListViolationsResponse) -> ViolationPage:
    """Some of a tenant's violations."""
    listing: policy_pb2.ListViolationsResponse = response.listing
    return result(ViolationPage, listing, violations=tuple(map(_violation, listing.violations)))


def _violation(message: policy_pb2.Violation) -> Violation:
    return result(
        Violation,
        message,
        violation_type=_violation_name(message.violation_type),
        time=message.time.ToDatetime(tzinfo=UTC),
        action=_ACTION_OF_NUMBER.get(message.action),
    )


def _violation_name(number: int) -> str:
    return _VIOLATION_NAME_OF_NUMBER.get(number, f"unknown_{number}")
