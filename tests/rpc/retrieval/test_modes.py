"""By what documents are found: vectors, words, both; what is told of it, and what is refused."""

import grpc
import pytest
from support.refusals import refusal
from support.retrieval_alone import INTERNAL, PUBLIC, SECRET, Service, Signer, document, running, vector_query
from unit.retrieval.worlds import up_to

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.type.v1 import document_pb2, query_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Sensitivity

VECTOR, TEXT, HYBRID = query_pb2.SEARCH_MODE_VECTOR, query_pb2.SEARCH_MODE_TEXT, query_pb2.SEARCH_MODE_HYBRID
PART = query_pb2.Query(text="AB-1234/7")


def ids(answer: pb.SearchDocumentsResponse) -> list[str]:
    return [result.document.document_id for result in answer.results]


async def load_valves(service: Service) -> None:
    others = [document(f"valve-{number}", f"Valve AB-{number}/7 closes by itself", PUBLIC) for number in range(20)]
    await service.load(*others, document("right", "Valve AB-1234/7 closes by itself", INTERNAL))
    await service.load(document("secret", "AB-1234/7 AB-1234/7", SECRET))


async def test_each_mode_finds_by_what_it_says_and_says_by_what_it_found(service: Service) -> None:
    await load_valves(service)
    grant = service.signer.grant(residual=up_to(Sensitivity.INTERNAL))
    by_vector = await service.search(grant, query=PART, mode=VECTOR)
    by_words = await service.search(grant, query=PART, mode=TEXT)
    by_both = await service.search(grant, query=PART, mode=HYBRID, k=21)
    assert (by_vector.mode, by_vector.metric) == (VECTOR, document_pb2.SIMILARITY_METRIC_COSINE)
    assert (by_words.mode, by_words.metric) == (TEXT, document_pb2.SIMILARITY_METRIC_BM25)
    assert (by_both.mode, by_both.metric) == (HYBRID, document_pb2.SIMILARITY_METRIC_FUSED_RANKS)
    assert [len(each.results) for each in (by_vector, by_both)] == [10, 21], "k, if there are k"
    assert ids(by_words)[0] == ids(by_both)[0] == "right"
    first = by_vector.results[0]
    assert (first.vector_score, first.vector_rank) == (first.score, 1)
    assert not any(map(first.HasField, ("text_score", "text_rank")))
    first = by_words.results[0]
    assert (first.text_score, first.text_rank) == (first.score, 1)
    assert not any(map(first.HasField, ("vector_score", "vector_rank")))
    assert all(each.HasField("vector_score") and each.HasField("vector_rank") for each in by_both.results)
    for mode, name in ((VECTOR, "vector"), (TEXT, "text"), (HYBRID, "hybrid")):
        assert service.metric(f'vecsec_searches_total{{mode="{name}"}}') == 1, mode


async def test_left_open_a_text_is_searched_by_both_and_a_vector_by_itself(service: Service) -> None:
    await service.load(document("one", "word", embedding=[1.0, 0.0]), collection_id="own", embedding_model="external")
    await service.load(document("two", "word"))
    assert (await service.search(query=query_pb2.Query(text="word"))).mode == HYBRID
    assert (await service.search(query=vector_query(1.0, 0.0), collection_id="own")).mode == VECTOR
    found = await service.search(query=query_pb2.Query(text="word"), collection_id="own", mode=TEXT)
    assert ids(found) == ["one"], "words need no model"


async def test_with_embeddings_and_after_changes_words_find_what_is_there(service: Service) -> None:
    await load_valves(service)
    await service.load(document("right", "A pump", PUBLIC))
    await service.delete("valve-3", grant=service.signer.grant(Action.DELETE))
    grant = service.signer.grant(residual=up_to(Sensitivity.INTERNAL), may_configure=True)
    found = await service.search(grant, query=query_pb2.Query(text="pump 3"), mode=TEXT, include_embeddings=True)
    assert ids(found) == ["right"]
    assert found.results[0].document.embedding
    assert found.results[0].text_score == found.results[0].score


@pytest.mark.parametrize(
    ("query", "mode", "field", "message"),
    [
        (vector_query(1.0), TEXT, "mode", "TEXT looks for words: send a text, or search with VECTOR"),
        (vector_query(1.0), HYBRID, "mode", "HYBRID looks for words: send a text, or search with VECTOR"),
        (query_pb2.Query(text="?! …"), TEXT, "query.text", "holds no word to look for"),
        (query_pb2.Query(text="word"), 9, "mode", "defined"),
    ],
)
async def test_what_cannot_be_is_refused(
    service: Service, query: query_pb2.Query, mode: query_pb2.SearchMode.ValueType, field: str, message: str
) -> None:
    await service.load(document("one", "word"))
    refused = await refusal(service.search(query=query, mode=mode))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
    assert message in refused.message


async def test_a_chroma_server_finds_by_vectors_alone(signer: Signer) -> None:
    async with running(signer.folder, signer, chroma_url="http://127.0.0.1:1") as service:
        for mode in (TEXT, HYBRID):
            refused = await refusal(service.search(mode=mode))
            assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("mode",))
            assert "the store is a Chroma server; search with VECTOR or AUTO" in refused.message
        for mode in (VECTOR, query_pb2.SEARCH_MODE_UNSPECIFIED):
            assert (await refusal(service.search(mode=mode))).code is grpc.StatusCode.UNAVAILABLE
