"""The policy service is asked about each label of a batch once, and each document keeps the label that is its own."""

import pytest

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import document_pb2, sensitivity_pb2, value_pb2
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.rpc.wire import label_from_proto
from vecsec_gateway.handlers import batch_of


def document(number: int, **label: object) -> document_pb2.DocumentInput:
    return document_pb2.DocumentInput(document_id=f"d{number}", text="text", **label)  # type: ignore[arg-type]


def test_labels_that_rules_cannot_tell_apart_are_one_and_others_are_not() -> None:
    public, secret = sensitivity_pb2.SENSITIVITY_PUBLIC, sensitivity_pb2.SENSITIVITY_SECRET
    one, true = value_pb2.Value(integer_value=1), value_pb2.Value(boolean_value=True)
    request = gateway_pb2.ImportDocumentsRequest(
        tenant_id="tenant_a",
        embedding_model="model",
        documents=[
            document(0, sensitivity=public, topics=["a", "b"]),
            document(1, sensitivity=secret, topics=["a", "b"]),
            document(2, sensitivity=public, topics=["b", "a", "b"]),
            document(3, sensitivity=public, topics=["a", "b"], attributes={"flag": one}),
            document(4, sensitivity=public, topics=["a", "b"], attributes={"flag": true}),
            document(5, sensitivity=secret, topics=["a", "b"]),
        ],
    )
    batch = batch_of(request)
    assert list(batch.label_of) == [0, 1, 0, 2, 3, 1]
    labels = [label_from_proto(label) for label in batch.labels]
    assert [(label.tenant_id, label.sensitivity) for label in labels] == [("tenant_a", s) for s in (1, 4, 1, 1)]
    assert {label.topics for label in labels} == {frozenset({"a", "b"})}
    assert [label.attributes for label in labels] == [(), (), (("flag", 1),), (("flag", True),)]
    stored = batch.to_store
    assert (stored.grant, stored.collection_id, stored.embedding_model) == ("", "documents", "model")
    assert list(stored.documents) == list(request.documents), "retrieval gets them as the caller sent them"


def test_an_attribute_that_rules_cannot_use_is_named() -> None:
    half = document(0, attributes={"share": value_pb2.Value(number_value=0.5)})
    with pytest.raises(InvalidRequest) as refused:
        batch_of(gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document(0), half]))
    assert refused.value.violations[0].field == "documents[1].attributes['share']"
