"""Made-up rows: the same for the same search, labelled, and made of nothing but the search."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import query_pb2
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_chassis.rpc.wire import label_from_proto
from vecsec_gateway.peers.contract import Answer, MockReason, Plan, Provenance, Row, Search
from vecsec_gateway.use_cases.mock import MAXIMUM_MOCK_ROWS, mock_answer

TOPICS = ("rag", "langchain", "marketing")
PLAN = Plan(tenant_id="tenant_a", grant="g", lifetime=60, policy_version="v1", topics=TOPICS)


def search(text: str = "what is RAG?", collection_id: str = "documents", k: int = 10) -> Search:
    return retrieval_pb2.SearchDocumentsRequest(collection_id=collection_id, query=query_pb2.Query(text=text), k=k)


def answer(plan: Plan = PLAN, wanted: Search | None = None) -> Answer:
    return asyncio.run(mock_answer(plan, wanted or search(), MockReason.FLAG_OFF))


def label_of(row: Row, made_up: Answer) -> Label:
    """The label that the policy service is asked about, which is the one that the caller sees."""
    assert made_up.labels[row.label] == row.document.label
    return label_from_proto(row.document.label)


def test_the_same_search_gives_the_same_rows() -> None:
    assert answer() == answer(replace(PLAN, topics=TOPICS[::-1]))


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (replace(PLAN, tenant_id="tenant_b"), search()),
        (PLAN, search(collection_id="other")),
        (PLAN, search("what is rag?")),
        (replace(PLAN, tenant_id="tenant_ad"), search(collection_id="ocuments")),
    ],
)
def test_another_search_gives_other_rows(plan: Plan, wanted: Search) -> None:
    rows, others = answer().rows, answer(plan, wanted).rows
    assert not {row.document_id for row in rows} & {row.document_id for row in others}


@given(k=st.integers(1, 1000), topics=st.lists(st.sampled_from(["a", "b", "c"]), unique=True), text=st.text())
def test_every_row_says_what_it_is(k: int, topics: list[str], text: str) -> None:
    made_up = answer(replace(PLAN, topics=tuple(topics)), search(text, k=k))
    rows = made_up.rows
    assert made_up.mock_reason is MockReason.FLAG_OFF
    assert len(rows) == min(k, MAXIMUM_MOCK_ROWS)
    assert len({row.document_id for row in rows}) == len(rows)
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    assert {row.label for row in rows} == set(range(len(made_up.labels))), "the policy refuses labels without a row"
    for row in rows:
        assert row.document_id.startswith("mock-")
        assert row.document_id == row.document.document_id
        assert row.provenance is Provenance.MOCK
        label = label_of(row, made_up)
        assert (label.tenant_id, label.sensitivity) == ("tenant_a", Sensitivity.PUBLIC)
        assert label.topics <= set(topics)
        assert label.is_complete is bool(topics)
        assert row.document.text.startswith("Synthetic passage")
        assert 0 <= row.score < 1


def test_nothing_of_the_query_is_given_back() -> None:
    secret = search("salary of the chief executive")
    assert "salary" not in repr(answer(PLAN, secret))
