"""A large batch goes to retrieval in parts that are, put together, the batch."""

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2
from vecsec_gateway.peers.batch_parts import parts_of


def batch(*sizes: int) -> retrieval_pb2.ImportDocumentsRequest:
    documents = [
        document_pb2.DocumentInput(document_id=f"doc-{number}", text="x" * size) for number, size in enumerate(sizes)
    ]
    return retrieval_pb2.ImportDocumentsRequest(
        grant="g", collection_id="notes", embedding_model="wordllama", documents=documents
    )


def test_a_small_batch_is_its_own_only_part() -> None:
    small = batch(100, 100)
    assert list(parts_of(small)) == [small]


def test_parts_are_small_and_all_but_the_last_go_on() -> None:
    large = batch(*[300_000] * 20)
    parts = list(parts_of(large))
    assert [part.continues for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [part.grant for part in parts] == ["g"] + [""] * (len(parts) - 1)
    assert all(part.ByteSize() < 1_100_000 for part in parts)
    assert [each.document_id for part in parts for each in part.documents] == [f"doc-{each}" for each in range(20)]


def test_a_document_that_is_larger_than_a_part_is_a_part() -> None:
    parts = list(parts_of(batch(10, 1_048_576, 10)))
    assert [len(part.documents) for part in parts] == [1, 1, 1]
