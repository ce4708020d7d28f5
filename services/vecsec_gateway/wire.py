"""The gateway's own messages to values and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cachetools import LRUCache, cached

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import document_pb2, filter_pb2, label_pb2, query_pb2
from vecsec_chassis.cache_metrics import CacheUse
from vecsec_chassis.errors import InvalidRequest, VecSecError
from vecsec_chassis.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.labels import Label
from vecsec_chassis.wire import attributes_from_proto, label_from_proto, label_message, sensitivity_from_proto
from vecsec_gateway.mock import MockReason
from vecsec_gateway.peers import Batch, Lookup, Provenance, Row, Search
from vecsec_gateway.search import SearchAnswer

_REMEMBERED_LABELS_BYTES = 16 * 1024 * 1024
"""A tenant has few distinct labels and many rows, so labels are converted once and remembered, each way in so much
memory: writers choose how much a label holds."""

_NUMBER_OF_PROVENANCE = {
    Provenance.UNKNOWN: document_pb2.PROVENANCE_UNSPECIFIED,
    Provenance.REAL: document_pb2.PROVENANCE_REAL,
    Provenance.MOCK: document_pb2.PROVENANCE_MOCK,
}
_PROVENANCE_OF_NUMBER = {number: provenance for provenance, number in _NUMBER_OF_PROVENANCE.items()}
_NUMBER_OF_MOCK_REASON = {
    None: gateway_pb2.MOCK_REASON_UNSPECIFIED,
    MockReason.FLAG_OFF: gateway_pb2.MOCK_REASON_FLAG_OFF,
    MockReason.RETRIEVAL_FAILED: gateway_pb2.MOCK_REASON_RETRIEVAL_FAILED,
    MockReason.CIRCUIT_OPEN: gateway_pb2.MOCK_REASON_CIRCUIT_OPEN,
}


@dataclass(frozen=True, slots=True)
class WireCriteria:
    """Query and filter as the caller sent them."""

    query: query_pb2.Query
    filter: filter_pb2.MetadataFilter | None

    def fingerprint(self) -> bytes:
        """The query's deterministic bytes."""
        return self.query.SerializeToString(deterministic=True)


def search_from_proto(request: gateway_pb2.SearchDocumentsRequest) -> Search:
    return Search(
        tenant_id=request.tenant_id,
        collection_id=collection_id_of(request),
        criteria=WireCriteria(request.query, request.filter if request.HasField("filter") else None),
        k=request.k,
        include_embeddings=request.include_embeddings,
    )


def lookup_from_proto(
    request: gateway_pb2.GetDocumentsRequest | gateway_pb2.DeleteDocumentsRequest, *, include_embeddings: bool = False
) -> Lookup:
    return Lookup(
        tenant_id=request.tenant_id,
        collection_id=collection_id_of(request),
        document_ids=tuple(request.document_ids),
        include_embeddings=include_embeddings,
    )


def batch_from_proto(request: gateway_pb2.ImportDocumentsRequest) -> Batch:
    return Batch(
        tenant_id=request.tenant_id,
        collection_id=collection_id_of(request),
        embedding_model=request.embedding_model,
        documents=request.documents,
        labels=tuple(
            Label(
                tenant_id=request.tenant_id,
                sensitivity=sensitivity_from_proto(document.sensitivity),
                topics=frozenset(document.topics),
                attributes=attributes_from_proto(document.attributes, f"documents[{position}].attributes"),
            )
            for position, document in enumerate(request.documents)
        ),
    )


def collection_id_of(
    request: gateway_pb2.SearchDocumentsRequest
    | gateway_pb2.GetDocumentsRequest
    | gateway_pb2.DeleteDocumentsRequest
    | gateway_pb2.ImportDocumentsRequest
    | gateway_pb2.ListDocumentIdsRequest,
) -> str:
    """The collection that is meant; empty means the default one."""
    return request.collection_id or DEFAULT_COLLECTION_ID


def row_from_document(document: document_pb2.Document) -> Row:
    """A row that retrieval sent; its provenance goes without saying, for only searches are ever made up.

    Raises:
        VecSecError: if its label cannot be one.
    """
    return Row(
        document_id=document.document_id,
        label=_remembered_label(document.label.SerializeToString(deterministic=True)),
        score=0.0,
        provenance=Provenance.REAL,
        content=document,
    )


def rows_from_results(results: Sequence[document_pb2.ScoredDocument]) -> list[Row]:
    """The rows that retrieval found.

    Raises:
        VecSecError: if the label of one cannot be one.
    """
    rows = []
    # Of rows with equal labels that follow each other: to compare two messages takes a third of serializing one.
    runs: list[tuple[label_pb2.Label, Label]] = []
    label_of: dict[bytes, Label] = {}
    for scored in results:
        document = scored.document
        message = document.label
        if not runs or message != runs[-1][0]:
            serialized = message.SerializeToString(deterministic=True)
            if serialized not in label_of:
                label_of[serialized] = _remembered_label(serialized)
            runs.append((message, label_of[serialized]))
        rows.append(
            Row(
                document_id=document.document_id,
                label=runs[-1][1],
                score=scored.score,
                provenance=_PROVENANCE_OF_NUMBER.get(scored.provenance, Provenance.UNKNOWN),
                content=document,
            )
        )
    return rows


def document_to_proto(row: Row) -> document_pb2.Document:
    if isinstance(row.content, document_pb2.Document):
        return row.content
    assert isinstance(row.content, str), "content is a document of retrieval's or the text of a made-up row"
    return document_pb2.Document(document_id=row.document_id, text=row.content, label=label_message(row.label))


def search_answer_to_proto(answer: SearchAnswer, request_id: str) -> gateway_pb2.SearchDocumentsResponse:
    provenance = _NUMBER_OF_PROVENANCE[answer.provenance]
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
        result.document.CopyFrom(document_to_proto(row))
    return response


def count_question_from_proto(request: gateway_pb2.CountViolationsRequest) -> policy_pb2.CountViolationsRequest:
    """The same question, to the policy service."""
    return policy_pb2.CountViolationsRequest(
        tenant_id=request.tenant_id,
        violation_types=request.violation_types,
        start_time=request.start_time if request.HasField("start_time") else None,
        end_time=request.end_time if request.HasField("end_time") else None,
    )


def list_question_from_proto(request: gateway_pb2.ListViolationsRequest) -> policy_pb2.ListViolationsRequest:
    """The same question, to the policy service."""
    return policy_pb2.ListViolationsRequest(
        tenant_id=request.tenant_id,
        violation_types=request.violation_types,
        start_time=request.start_time if request.HasField("start_time") else None,
        end_time=request.end_time if request.HasField("end_time") else None,
        page_size=request.page_size,
        page_token=request.page_token,
        newest_first=request.newest_first,
    )


def _weight(label: Label) -> int:
    """Of what is remembered: the label and its message."""
    return 2 * label.weight


@cached(LRUCache(_REMEMBERED_LABELS_BYTES, getsizeof=_weight), info=True)
def _remembered_label(serialized: bytes) -> Label:
    try:
        return label_from_proto(label_pb2.Label.FromString(serialized))
    except InvalidRequest as error:
        raise VecSecError(
            "internal error: the retrieval service gave no valid answer", detail=f"a row's label: {error.message}"
        ) from error


CACHES: Mapping[str, Callable[[], CacheUse]] = {"labels_read": _remembered_label.cache_info}
"""How this module's cache is used, by its name in metrics."""
