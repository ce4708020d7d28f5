"""Each row that retrieval sent keeps its own label, however labels follow each other: the check decides by it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from vecsec.type.v1 import document_pb2, label_pb2, value_pb2
from vecsec_gateway.peers.contract import Answer, Provenance
from vecsec_gateway.peers.retrieval import PROVENANCES, FoundDocument, found_rows

_VALUES = st.one_of(
    st.builds(lambda text: value_pb2.Value(string_value=text), st.sampled_from(["", "a", "b"])),
    st.builds(lambda number: value_pb2.Value(integer_value=number), st.sampled_from([0, 1])),
    st.builds(lambda flag: value_pb2.Value(boolean_value=flag), st.booleans()),
)
_LABELS = st.builds(
    label_pb2.Label,
    tenant_id=st.sampled_from(["", "tenant_a", "tenant_b"]),
    sensitivity=st.integers(0, 4),
    topics=st.lists(st.sampled_from(["finance", "policy"]), max_size=3),
    attributes=st.dictionaries(st.sampled_from(["owner", "region"]), _VALUES, max_size=2),
)


def rows_of(results: list[document_pb2.ScoredDocument]) -> Answer:
    found = (FoundDocument(scored.document, scored.score, PROVENANCES[scored.provenance]) for scored in results)
    return asyncio.run(found_rows(found))


@given(
    st.lists(_LABELS, max_size=4).flatmap(
        lambda few: st.lists(st.sampled_from(few), max_size=12) if few else st.just([])
    )
)
def test_every_row_has_the_label_that_it_came_with(labels: list[label_pb2.Label]) -> None:
    results = [
        document_pb2.ScoredDocument(
            document=document_pb2.Document(document_id=f"d{number}", label=label),
            score=number / 16,
            provenance=document_pb2.PROVENANCE_REAL,
        )
        for number, label in enumerate(labels)
    ]
    answer = rows_of(results)
    assert [answer.labels[row.label] for row in answer.rows] == labels
    assert [row.document_id for row in answer.rows] == [f"d{number}" for number in range(len(labels))]
    assert [row.score for row in answer.rows] == [number / 16 for number in range(len(labels))]
    assert {row.provenance for row in answer.rows} <= {Provenance.REAL}
    assert [row.document for row in answer.rows] == [result.document for result in results]
    distinct = [label.SerializeToString(deterministic=True) for label in answer.labels]
    assert len(set(distinct)) == len(distinct)
    assert {row.label for row in answer.rows} == set(range(len(distinct))), "the policy refuses labels without a row"


def test_a_row_without_a_label_does_not_get_that_of_the_row_before() -> None:
    secret = label_pb2.Label(tenant_id="tenant_a", sensitivity=4, topics=["finance"])
    answer = rows_of(
        [
            document_pb2.ScoredDocument(document=document_pb2.Document(document_id="labelled", label=secret)),
            document_pb2.ScoredDocument(document=document_pb2.Document(document_id="bare")),
        ]
    )
    labelled, bare = answer.rows
    assert answer.labels[labelled.label] == secret
    assert answer.labels[bare.label] == label_pb2.Label()
    assert bare.provenance is Provenance.UNKNOWN


async def test_while_many_rows_are_looked_at_others_get_their_turn() -> None:
    document = document_pb2.Document(document_id="d")
    looking = asyncio.create_task(found_rows([FoundDocument(document, 0.5, Provenance.REAL)] * 1_000))
    turns = 0
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(looking.result().rows) == 1_000
    assert turns >= 20
