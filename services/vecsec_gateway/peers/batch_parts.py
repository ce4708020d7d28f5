"""A large batch on its way to retrieval, which takes no large messages: from whom they come is not known before."""

from collections.abc import Iterator

from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec_gateway.peers.contract import BatchToStore

_PART_BYTES = 1024 * 1024
"""A part is not much larger, but for a single document that is: less than 4 MiB, with a grant of 64 KiB."""


def parts_of(batch: BatchToStore) -> Iterator[BatchToStore]:
    """The batch in parts, of which all but the last say that it goes on; a small one is its own only part."""
    if batch.ByteSize() <= _PART_BYTES:
        yield batch
        return
    part = retrieval_pb2.ImportDocumentsRequest(
        grant=batch.grant,
        collection_id=batch.collection_id,
        embedding_model=batch.embedding_model,
        whole_sources=batch.whole_sources,
    )
    size = 0
    for document in batch.documents:
        more = document.ByteSize()
        if part.documents and size + more > _PART_BYTES:
            part.continues = True
            yield part
            part = retrieval_pb2.ImportDocumentsRequest(
                collection_id=batch.collection_id,
                embedding_model=batch.embedding_model,
                whole_sources=batch.whole_sources,
            )
            size = 0
        part.documents.append(document)
        size += more
    yield part
