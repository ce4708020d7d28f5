"""From the gateway's answers to results. Fields that both call the same are taken over as they are."""

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import TypeVar

from grpc import StatusCode

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2, batch_pb2, error_reason_pb2
from vecsec_client.errors import RealRetrievalUnavailable, VecSecError
from vecsec_client.results import (
    BatchAnswer,
    Change,
    Collection,
    DecidingValue,
    DeleteResult,
    DeterminingRule,
    DocumentIdPage,
    DocumentsAnswer,
    Explanation,
    ExportPage,
    ForeignAccess,
    ForeignAccessPage,
    LabelPage,
    NamedReader,
    PolicyStatus,
    PossibleReaders,
    QueryAnswer,
    QueryFailure,
    ReadingRole,
    RelabelResult,
    SearchAnswer,
    ShadowDisagreements,
    TenantUsage,
    Violation,
    ViolationCounts,
    ViolationPage,
)
from vecsec_client.sources import SourcePage
from vecsec_client.values import Action, MockReason, Provenance, ViolationType
from vecsec_client.wire.values import (
    document_from_proto,
    label_count_from_proto,
    metric_from_proto,
    mode_from_proto,
    provenance_from_proto,
    result,
    scored_document_from_proto,
    sensitivity_from_proto,
    source_from_proto,
)

SearchT = TypeVar("SearchT", SearchAnswer, BatchAnswer)

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
        mode=mode_from_proto(response.mode),
    )


def batch_answer(response: gateway_pb2.SearchDocumentsBatchResponse) -> BatchAnswer:
    """What the queries of a batch found."""
    provenance = provenance_from_proto(response.provenance)
    reason = _MOCK_REASON_OF_NUMBER.get(response.mock_reason, MockReason.UNSPECIFIED)
    return result(
        BatchAnswer,
        response,
        answers=tuple(map(_query_answer, response.results)),
        provenance=provenance,
        mock_reason=None if provenance is Provenance.REAL else reason,
    )


def _query_answer(message: batch_pb2.BatchResult) -> QueryAnswer:
    results = tuple(scored_document_from_proto(row) for row in message.results)
    if not message.HasField("error"):
        return QueryAnswer(
            results=results,
            metric=metric_from_proto(message.metric),
            mode=mode_from_proto(message.mode),
            strategy=message.strategy,
        )
    error = message.error
    failure = QueryFailure(
        reason=_reason_name(error.reason),
        message=error.message,
        fields={each.field: each.description for each in error.violations},
    )
    return QueryAnswer(results=(), failure=failure)


def _reason_name(number: int) -> str:
    """Empty for one that this version does not know."""
    known = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(number)
    return "" if known is None else known.name.removeprefix("ERROR_REASON_")


def real_search_answer(response: gateway_pb2.SearchDocumentsResponse) -> SearchAnswer:
    """What a search found that asked for real rows alone.

    Raises:
        RealRetrievalUnavailable: if the gateway sent others all the same; nobody is to take them for real.
    """
    return _demand_real(search_answer(response))


def real_batch_answer(response: gateway_pb2.SearchDocumentsBatchResponse) -> BatchAnswer:
    """The same of a batch.

    Raises:
        RealRetrievalUnavailable: as `real_search_answer` does.
    """
    return _demand_real(batch_answer(response))


def _demand_real(answer: SearchT) -> SearchT:
    if answer.is_real:
        return answer
    why = answer.mock_reason or MockReason.UNSPECIFIED
    raise RealRetrievalUnavailable(
        f"the gateway answered with rows that are not real ({why.value}), though none were asked for",
        mock_reason=why,
        reason="REAL_RETRIEVAL_OFF" if why is MockReason.FLAG_OFF else "RETRIEVAL_UNAVAILABLE",
        request_id=answer.request_id,
    )


def documents_answer(response: gateway_pb2.GetDocumentsResponse) -> DocumentsAnswer:
    """Documents by id."""
    return result(DocumentsAnswer, response, documents=tuple(map(document_from_proto, response.documents)))


def delete_result(response: gateway_pb2.DeleteDocumentsResponse) -> DeleteResult:
    """What was deleted."""
    return result(DeleteResult, response)


def relabel_result(response: gateway_pb2.RelabelDocumentsResponse) -> RelabelResult:
    """What was relabelled."""
    return result(RelabelResult, response)


def collections(response: gateway_pb2.ListCollectionsResponse) -> tuple[Collection, ...]:
    """A tenant's collections."""
    return tuple(result(Collection, each, metric=metric_from_proto(each.metric)) for each in response.collections)


def label_page(response: gateway_pb2.ListLabelsResponse) -> LabelPage:
    """A page of a tenant's labels."""
    return result(LabelPage, response, labels=tuple(map(label_count_from_proto, response.labels)))


def document_id_page(response: gateway_pb2.ListDocumentIdsResponse) -> DocumentIdPage:
    """A page of the ids of a collection's documents."""
    count = response.document_count if response.HasField("document_count") else None
    return result(DocumentIdPage, response, document_ids=tuple(response.document_ids), document_count=count)


def counted_id_page(response: gateway_pb2.ListDocumentIdsResponse) -> DocumentIdPage:
    """The same, where a count was asked for.

    Raises:
        VecSecError: if there is none, for then the gateway did not look at a filter, either.
    """
    document_count(response)
    return document_id_page(response)


def document_count(response: gateway_pb2.ListDocumentIdsResponse) -> int:
    """How many documents there are.

    Raises:
        VecSecError: if the gateway does not say so.
    """
    if not response.HasField("document_count"):
        raise VecSecError(
            "the gateway is older than this client, or retrieval is: documents are neither counted nor listed by a "
            "filter; upgrade the services",
            code=StatusCode.UNIMPLEMENTED,
        )
    return response.document_count


def source_page(response: gateway_pb2.ListSourcesResponse) -> SourcePage:
    """A page of a collection's sources."""
    return result(SourcePage, response, sources=tuple(map(source_from_proto, response.sources)))


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
        possible_readers=_possible_readers(told.possible_readers) if told.HasField("possible_readers") else None,
    )


def _possible_readers(told: policy_pb2.PossibleReaders) -> PossibleReaders:
    return result(
        PossibleReaders,
        told,
        roles=tuple(
            ReadingRole(role=each.role, least_clearance=sensitivity_from_proto(each.least_clearance))
            for each in told.roles
        ),
        named_readers=tuple(result(NamedReader, each, people=tuple(each.people)) for each in told.named_readers),
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


def foreign_access_page(response: gateway_pb2.ListForeignAccessResponse) -> ForeignAccessPage:
    """Some of what callers of other tenants did."""
    listing: policy_pb2.ListForeignAccessResponse = response.listing
    return result(
        ForeignAccessPage,
        listing,
        accesses=tuple(map(_foreign_access, listing.accesses)),
        since=listing.since_time.ToDatetime(tzinfo=UTC),
    )


def _foreign_access(message: policy_pb2.ForeignAccess) -> ForeignAccess:
    return result(
        ForeignAccess,
        message,
        time=message.time.ToDatetime(tzinfo=UTC),
        action=_ACTION_OF_NUMBER.get(message.action),
    )


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


def tenant_usage(response: gateway_pb2.GetTenantUsageResponse) -> TenantUsage:
    """What a tenant uses."""
    return result(
        TenantUsage,
        response,
        bytes=response.bytes if response.HasField("bytes") else None,
        limits={field.name: getattr(response.limits, field.name) for field in response.limits.DESCRIPTOR.fields},
    )
