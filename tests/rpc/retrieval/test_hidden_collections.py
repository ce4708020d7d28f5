"""A hidden collection is answered as one that is not there: by the same words, and on the same way."""

import re
import urllib.request

import grpc
import pytest
from support.refusals import refusal
from support.retrieval_alone import SECRET, Service, document, vector_query
from unit.retrieval.worlds import up_to

from vecsec.type.v1 import query_pb2
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.labels import Sensitivity

STORE_CALLS = re.compile(
    r"vecsec_store_duration\S*count\S*(find_collection|list_collections|read_labels|scan|nearest|get|find_ids)"
)
INTERNAL_ONLY = up_to(Sensitivity.INTERNAL)


async def test_vectors_that_do_not_fit_tell_nothing_of_a_hidden_collection(service: Service) -> None:
    await service.load(document("a", sensitivity=SECRET), collection_id="modelled")
    await service.load(document("a", sensitivity=SECRET, embedding=[1.0, 2.0, 3.0]), collection_id="external")
    writer = service.signer.grant(Action.WRITE, INTERNAL_ONLY)
    told = set()
    for collection_id, documents in (
        ("modelled", [document("b", embedding=[1.0] * 4)]),
        ("modelled", [document("b", embedding=[1.0] * 255), document("c", embedding=[1.0] * 256)]),
        ("external", [document("b", embedding=[1.0] * 4)]),
        ("external", [document("b", embedding=[1.0] * 3), document("c", embedding=[1.0] * 4)]),
        ("external", [document("b", embedding=[0.0] * 3)]),
        ("external", [document("b")]),
    ):
        refused = await refusal(service.load(*documents, collection_id=collection_id, grant=writer))
        told.add((refused.code, refused.message, refused.details))
    [(code, message, _)] = told
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == "documents: do not fit this collection; choose another one, or ask who may see into it"
    # Whoever sees something in it is told what does not fit.
    everybody = await refusal(service.load(document("b", embedding=[1.0] * 4), collection_id="external"))
    assert everybody.message == "documents[0].embedding: has 4 numbers; this collection's embeddings have 3"
    everybody = await refusal(service.load(document("b"), collection_id="external"))
    assert "are external" in everybody.message


@pytest.mark.parametrize("query", [query_pb2.Query(text="anything"), vector_query(1.0), query_pb2.Query(text="…")])
async def test_a_search_asks_the_store_no_more_for_what_is_hidden_than_for_what_is_absent(
    service: Service, query: query_pb2.Query
) -> None:
    await service.load(*(document(f"secret-{number}", sensitivity=SECRET) for number in range(50)), collection_id="h-1")
    reader = service.signer.grant(residual=INTERNAL_ONLY)

    def work_of_the_store() -> dict[str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics") as answer:
            lines = [line for line in answer.read().decode().splitlines() if STORE_CALLS.match(line)]
        return dict(line.rsplit(" ", 1) for line in lines)

    told = {}
    for collection_id in ("a-1", "h-1"):
        refused = await refusal(service.search(reader, query=query, collection_id=collection_id))
        told[collection_id] = refused.message.replace(collection_id, "…"), refused.code, refused.retry_seconds
    before = work_of_the_store()
    assert before, "the metric is there"
    for collection_id in ("a-1", "h-1", "a-2", "h-1"):
        await refusal(service.search(reader, query=query, collection_id=collection_id))
        assert work_of_the_store() == before, f"{collection_id} made the store work"
    assert told["a-1"] == told["h-1"]
