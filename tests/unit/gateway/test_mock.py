"""Made-up rows: the same for the same search, labelled, and made of nothing but the search."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsec_chassis.labels import Sensitivity
from vecsec_gateway.mock import MAXIMUM_MOCK_ROWS, mock_rows
from vecsec_gateway.peers import Provenance, Search


@dataclass(frozen=True)
class Text:
    text: str

    def fingerprint(self) -> bytes:
        return self.text.encode()


SEARCH = Search("tenant_a", "documents", Text("what is RAG?"), k=10, include_embeddings=False)
TOPICS = ("rag", "langchain", "marketing")


def test_the_same_search_gives_the_same_rows() -> None:
    assert mock_rows(SEARCH, TOPICS) == mock_rows(SEARCH, TOPICS[::-1])


@pytest.mark.parametrize(
    "other",
    [
        replace(SEARCH, tenant_id="tenant_b"),
        replace(SEARCH, collection_id="other"),
        replace(SEARCH, criteria=Text("what is rag?")),
        replace(SEARCH, tenant_id="tenant_ad", collection_id="ocuments"),
    ],
)
def test_another_search_gives_other_rows(other: Search) -> None:
    rows, others = mock_rows(SEARCH, TOPICS), mock_rows(other, TOPICS)
    assert not {row.document_id for row in rows} & {row.document_id for row in others}


@given(k=st.integers(1, 1000), topics=st.lists(st.sampled_from(["a", "b", "c"]), unique=True), text=st.text())
def test_every_row_says_what_it_is(k: int, topics: list[str], text: str) -> None:
    rows = mock_rows(replace(SEARCH, k=k, criteria=Text(text)), topics)
    assert len(rows) == min(k, MAXIMUM_MOCK_ROWS)
    assert len({row.document_id for row in rows}) == len(rows)
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    for row in rows:
        assert row.document_id.startswith("mock-")
        assert row.provenance is Provenance.MOCK
        assert (row.label.tenant_id, row.label.sensitivity) == ("tenant_a", Sensitivity.PUBLIC)
        assert row.label.topics <= set(topics)
        assert row.label.is_complete is bool(topics)
        assert isinstance(row.content, str)
        assert row.content.startswith("Synthetic passage")
        assert 0 <= row.score < 1


def test_nothing_of_the_query_is_given_back() -> None:
    secret = replace(SEARCH, criteria=Text("salary of the chief executive"))
    assert "salary" not in repr([row.content for row in mock_rows(secret, TOPICS)])
