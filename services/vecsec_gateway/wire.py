"""The callers' messages to those of the peers and back: one step each way."""

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.rpc.wire import attributes_from_proto, label_to_proto, sensitivity_from_proto
from vecsec_gateway.peers.contract import (
    Answer,
    Batch,
    CountQuestion,
    Deletion,
    IdPageRequest,
    LabelPageRequest,
    ListQuestion,
    Lookup,
    MockReason,
    Search,
)

_NUMBER_OF_MOCK_REASON = {
    None: gateway_pb2.MOCK_REASON_UNSPECIFIED,
    MockReason.FLAG_OFF: gateway_pb2.MOCK_REASON_FLAG_OFF,
    MockReason.RETRIEVAL_FAILED: gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED,
    MockReason.CIRCUIT_OPEN: gateway_pb2.MOCK_REASON_CIRCUIT_OPEN,
}


def search_of(request: gateway_pb2.SearchDocumentsRequest) -> Search:
    return retrieval_pb2.SearchDocumentsRequest(
        collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
        query=request.query,
        filter=request.filter if request.HasField("filter") else None,
        k=request.k,
        include_embeddings=request.include_embeddings,
    )


def lookup_of(request: gateway_pb2.GetDocumentsRequest) -> Lookup:
    return retrieval_pb2.GetDocumentsRequest(
        collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
        document_ids=request.document_ids,
        include_embeddings=request.include_embeddings,
    )


def deletion_of(request: gateway_pb2.DeleteDocumentsRequest) -> Deletion:
    return retrieval_pb2.DeleteDocumentsRequest(
        collection_id=request.collection_id or DEFAULT_COLLECTION_ID, document_ids=request.document_ids
    )


def label_page_of(request: gateway_pb2.ListLabelsRequest) -> LabelPageRequest:
    return retrieval_pb2.ListLabelsRequest(page_size=request.page_size, page_token=request.page_token)


def id_page_of(request: gateway_pb2.ListDocumentIdsRequest) -> IdPageRequest:
    return retrieval_pb2.ListDocumentIdsRequest(
        collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def batch_of(request: gateway_pb2.ImportDocumentsRequest) -> Batch:
    """The batch; takes 20 ms for a thousand labels.

    Raises:
        InvalidRequest: if an attribute of a label is of a kind that rules cannot use.
    """
    places: dict[Label, int] = {}
    label_of = [
        places.setdefault(
            Label(
                tenant_id=request.tenant_id,
                sensitivity=sensitivity_from_proto(document.sensitivity),
                topics=frozenset(document.topics),
                attributes=attributes_from_proto(document.attributes, f"documents[{position}].attributes"),
            ),
            len(places),
        )
        for position, document in enumerate(request.documents)
    ]
    return Batch(
        tenant_id=request.tenant_id,
        to_store=retrieval_pb2.ImportDocumentsRequest(
            collection_id=request.collection_id or DEFAULT_COLLECTION_ID,
            embedding_model=request.embedding_model,
            documents=request.documents,
        ),
        labels=[label_to_proto(label) for label in places],
        label_of=label_of,
    )


def count_question_of(request: gateway_pb2.CountViolationsRequest) -> CountQuestion:
    return policy_pb2.CountViolationsRequest(
        tenant_id=request.tenant_id,
        violation_types=request.violation_types,
        start_time=request.start_time if request.HasField("start_time") else None,
        end_time=request.end_time if request.HasField("end_time") else None,
    )


def list_question_of(request: gateway_pb2.ListViolationsRequest) -> ListQuestion:
    return policy_pb2.ListViolationsRequest(
        tenant_id=request.tenant_id,
        violation_types=request.violation_types,
        start_time=request.start_time if request.HasField("start_time") else None,
        end_time=request.end_time if request.HasField("end_time") else None,
        page_size=request.page_size,
        page_token=request.page_token,
        newest_first=request.newest_first,
    )


def search_response(answer: Answer, request_id: str) -> gateway_pb2.SearchDocumentsResponse:
    is_real = answer.mock_reason is None
    provenance = document_pb2.PROVENANCE_REAL if is_real else document_pb2.PROVENANCE_MOCK
    response = gateway_pb2.SearchDocumentsResponse(
        provenance=provenance,
        mock_reason=_NUMBER_OF_MOCK_REASON[answer.mock_reason],
        metric=document_pb2.SIMILARITY_METRIC_COSINE,
        policy_version=answer.policy_version,
        request_id=request_id,
        strategy=answer.strategy,
    )
    for row in answer.rows:
        # Filled in where it stands: a message that is put into another one is copied, and once is enough.
        result = response.results.add(score=row.score, provenance=provenance)
        result.document.CopyFrom(row.document)
    return response
