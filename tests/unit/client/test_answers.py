"""Answers are sequences of their rows and go to dictionaries and JSON; words as texts are those of the enums."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import grpc
import pytest
from support.fake_gateway import Failure, FakeGateway, running

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import document_pb2
from vecsec_client import (
    Action,
    ActionWord,
    DocumentIdPage,
    Provenance,
    ResourceExhausted,
    ScoredDocument,
    SearchAnswer,
    Sensitivity,
    SensitivityWord,
    SimilarityMetric,
    VecSecClient,
    Violation,
    ViolationPage,
    ViolationType,
    ViolationWord,
)

ROWS = tuple(
    ScoredDocument(
        document_id=name,
        text="Grüße",
        tenant_id="tenant_a",
        sensitivity=Sensitivity.PUBLIC,
        topics=("rag",),
        attributes={"regions": frozenset({"us", "eu"})},
        metadata={"page": 3},
        embedding=(),
        score=0.5,
        provenance=Provenance.REAL,
    )
    for name in ("a", "b", "c")
)
AS_DICTIONARY = {
    "document_id": "a",
    "text": "Grüße",
    "tenant_id": "tenant_a",
    "sensitivity": "PUBLIC",
    "topics": ["rag"],
    "attributes": {"regions": ["eu", "us"]},
    "metadata": {"page": 3},
    "embedding": [],
    "readers": None,
    "source": None,
    "score": 0.5,
    "provenance": "PROVENANCE_REAL",
    "vector_score": None,
    "text_score": None,
    "vector_rank": None,
    "text_rank": None,
}


def answer(rows: tuple[ScoredDocument, ...]) -> SearchAnswer:
    return SearchAnswer(
        results=rows,
        provenance=Provenance.REAL,
        mock_reason=None,
        metric=SimilarityMetric.COSINE,
        policy_version="abc",
        request_id="r1",
    )


def test_an_answer_is_the_sequence_of_its_rows() -> None:
    found = answer(ROWS)
    assert (len(found), list(found), found[0], found[-1], found[1:]) == (3, list(ROWS), ROWS[0], ROWS[2], ROWS[1:])
    assert ROWS[1] in found
    assert not answer(())
    assert list(DocumentIdPage(document_ids=("x", "y"), next_page_token="")) == ["x", "y"]
    assert found == answer(ROWS), "still compared by its fields"
    with pytest.raises(IndexError):
        found[3]


def test_rows_and_answers_go_to_dictionaries_and_json() -> None:
    found = answer(ROWS[:1])
    assert found.to_dicts() == [AS_DICTIONARY]
    assert type(found.to_dicts()[0]["sensitivity"]) is str
    whole = found.to_dict()
    assert (whole["results"], whole["metric"], whole["mock_reason"]) == ([AS_DICTIONARY], "cosine", None)
    assert json.loads(found.to_json()) == whole
    assert "Grüße" in found[0].to_json(indent=2)
    violation = Violation(
        violation_type="topic_violation",
        count=1,
        time=datetime(2026, 1, 2, tzinfo=UTC),
        incident_id="i",
        request_id="r",
        subject="alice",
        role="analyst",
        requested_tenant_id="tenant_a",
        action=Action.READ,
        policy_version="abc",
    )
    page = ViolationPage(violations=(violation,), next_page_token="", has_more=False, replica_id="one")
    (told,) = page.to_dicts()
    assert (told["time"], told["action"]) == ("2026-01-02T00:00:00+00:00", "read")


@pytest.mark.parametrize(
    ("words", "kind"), [(SensitivityWord, Sensitivity), (ActionWord, Action), (ViolationWord, ViolationType)]
)
def test_the_words_of_type_checkers_are_those_of_the_contract(words: object, kind: type) -> None:
    assert list(get_args(words)) == [each.value for each in kind]  # type: ignore[attr-defined]


class NarrowGateway(FakeGateway):
    """Its answers hold two documents, and none that is called huge."""

    def ListDocumentIds(self, request: Any, context: Any) -> Any:
        if request.page_token:
            return gateway_pb2.ListDocumentIdsResponse(document_ids=["huge"])
        return gateway_pb2.ListDocumentIdsResponse(document_ids=list("abcde"), next_page_token="more")

    def GetDocuments(self, request: Any, context: Any) -> Any:
        if len(request.document_ids) > 2 or "huge" in request.document_ids:
            context.abort_with_status(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED).status())
        documents = [document_pb2.Document(document_id=each) for each in request.document_ids]
        return gateway_pb2.GetDocumentsResponse(documents=documents)


def test_documents_that_do_not_fit_into_one_answer_are_read_in_several() -> None:
    with running(NarrowGateway()) as address, VecSecClient(address, token="t", default_tenant="tenant_a") as client:
        found = client.iter_documents()
        assert [next(found).document_id for _ in range(5)] == list("abcde")
        with pytest.raises(ResourceExhausted):
            next(found)
