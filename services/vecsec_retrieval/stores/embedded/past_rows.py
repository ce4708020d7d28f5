"""Rows as they stood in a cell's log at one position: what came later is not looked at.

Entries of the log never change. Those that were replaced since can be read as long as they are not forgotten, which
`Moments` is asked about.
"""

from vecsec_retrieval.model.store import RowPage, RowsWanted
from vecsec_retrieval.stores.embedded.record import DELETE, Record

_AT = """
    SELECT id, max(seq_id), operation, json_extract(metadata, '$.vs_label') FROM embeddings_queue
    WHERE topic = ? AND id > ? AND seq_id <= ? GROUP BY id ORDER BY id LIMIT ?
"""
_IDS_AT_ONCE = 250
"""A little more than an answer holds: where all rows are seen, hardly any is looked at twice."""


def rows_at(record: Record, topic: str, position: int, wanted: RowsWanted) -> RowPage:
    """Rows with their embeddings, of the next few hundred ids.

    Raises:
        TornRow: if one of them does not agree with its checksum.
    """
    found = record.ask(_AT, (topic, wanted.after_id, position, _IDS_AT_ONCE))
    living = [
        (document_id, entry)
        for document_id, entry, operation, label_key in found
        if operation != DELETE and label_key in wanted.label_keys
    ]
    page = living[: wanted.count]
    rows = record.rows([entry for _, entry in page], with_embeddings=True)
    last_seen = found[-1][0] if len(found) == _IDS_AT_ONCE else ""
    return RowPage([rows[entry] for _, entry in page], page[-1][0] if len(living) > len(page) else last_seen)
