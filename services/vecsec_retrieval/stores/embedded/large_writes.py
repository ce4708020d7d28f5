"""Writes of very many rows to a cell's log, or of more than one kind, each in one transaction: ChromaDB takes some
thousand at once, and a reader, or a process that ends, would come in between.

ChromaDB counts on from the last entry, whoever wrote it.
"""

from collections.abc import Iterator, Mapping, Sequence

import orjson

from vecsec_retrieval.model.rows import MetadataValue, StoredRow
from vecsec_retrieval.stores.embedded.checked_rows import entry_of, relabelled_metadata
from vecsec_retrieval.stores.embedded.record import DELETE, UPSERT, Record

_IDS_A_QUERY = 500
_DELETED = "INSERT INTO embeddings_queue (operation, topic, id, metadata) VALUES (?, ?, ?, '{}')"
_UPSERTED = """
    INSERT INTO embeddings_queue (operation, topic, id, vector, encoding, metadata) VALUES (?, ?, ?, ?, ?, ?)
"""
_LATEST = """
    SELECT id, max(seq_id), operation, metadata FROM embeddings_queue
    WHERE topic = :topic AND id IN (SELECT value FROM json_each(:ids)) GROUP BY id
"""
_RELABELLED = """
    INSERT INTO embeddings_queue (operation, topic, id, vector, encoding, metadata)
    SELECT operation, topic, id, vector, encoding, ? FROM embeddings_queue WHERE seq_id = ?
"""
_OTHER_TOPIC_ID = ""
"""No row has it: documents' ids are never empty."""


def delete_rows(record: Record, topic: str, document_ids: Sequence[str]) -> None:
    """Note of each row that it is deleted."""
    with record.transaction():
        record.write_many(_DELETED, [(DELETE, topic, each) for each in document_ids])


def replace_rows(record: Record, topic: str, rows: Sequence[StoredRow], deleted: Sequence[str]) -> None:
    """Write rows with their embeddings, and note of others that they are deleted."""
    entries = [(UPSERT, topic, row.document_id, *entry_of(row)) for row in rows]
    with record.transaction():
        record.write_many(_DELETED, [(DELETE, topic, each) for each in deleted])
        record.write_many(_UPSERTED, entries)


def relabel_rows(record: Record, topic: str, tags_of: Mapping[str, Mapping[str, MetadataValue]]) -> int:
    """Write rows again with these tags, by id; texts, embeddings and callers' metadata are taken over. How many.

    Raises:
        TornRow: if one of them does not agree with its checksum; then nothing was written.
    """
    written = 0
    with record.transaction():
        for page in _pages(list(tags_of)):
            found = record.ask(_LATEST, {"topic": topic, "ids": page})
            written += record.write_many(
                _RELABELLED,
                [
                    (relabelled_metadata(document_id, metadata, tags_of[document_id]), position)
                    for document_id, position, operation, metadata in found
                    if operation != DELETE
                ],
            )
    return written


def drop_collections(record: Record, topics: Mapping[str, str]) -> None:
    """Take collections, by the ids that ChromaDB has of them, with their topics, out of the file; ChromaDB is not open.

    The log goes on at its end: were positions given out again, a snapshot would be taken to hold what came after it.
    """
    others = [each.topic for each in record.collections() if each.topic not in topics.values()]
    with record.transaction():
        if others:
            record.write_many(_DELETED, [(DELETE, others[0], _OTHER_TOPIC_ID)])
        for collection_id, topic in topics.items():
            record.forget_collection(collection_id, topic)


def _pages(ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(ids), _IDS_A_QUERY):
        yield orjson.dumps(ids[start : start + _IDS_A_QUERY]).decode()
