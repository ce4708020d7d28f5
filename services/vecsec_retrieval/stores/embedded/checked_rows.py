"""How a row lies in the log of an embedded cell, with a checksum among its metadata."""

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import orjson

from vecsec_retrieval.model.rows import MetadataValue, StoredRow, Vector

SUM_KEY = "vs_sum"
"""The reserved metadata key of a row's checksum."""
NUMBERS = np.dtype("<f4")
HALF = 2**32 - 1
"""The lower half of a checksum is of the embedding."""

_DOCUMENT_KEY = "chroma:document"
_ENCODING = "FLOAT32"


class TornRow(Exception):
    """What the log holds is not what was written to it; the message names the row."""


def sealed(row: StoredRow) -> StoredRow:
    """The row with its checksum among its metadata."""
    assert row.embedding is not None, f"row {row.document_id!r} has no embedding"
    vector = row.embedding.astype(NUMBERS, copy=False).tobytes()
    kept = {key: value for key, value in row.metadata.items() if value is not None}
    return replace(row, metadata={**row.metadata, SUM_KEY: _sum(row.document_id, row.text, kept, vector)})


def read_row(document_id: str, vector: bytes, encoding: str, metadata_json: str, *, with_embeddings: bool) -> StoredRow:
    """The row of a log entry's fields.

    Raises:
        TornRow: if it does not agree with its checksum, or cannot be read.
    """
    if encoding != _ENCODING or len(vector) % NUMBERS.itemsize:
        raise TornRow(f"row {document_id!r}: its embedding cannot be read")
    try:
        metadata = {key: value for key, value in orjson.loads(metadata_json).items() if value is not None}
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise TornRow(f"row {document_id!r}: its metadata cannot be read") from error
    text, checksum = metadata.pop(_DOCUMENT_KEY, ""), metadata.pop(SUM_KEY, None)
    if checksum is not None and checksum != _sum(document_id, text, metadata, vector):
        raise TornRow(f"row {document_id!r} does not agree with its checksum")
    return StoredRow(document_id, text, metadata, _vector(vector) if with_embeddings else None)


def _sum(document_id: str, text: str, metadata: Mapping[str, MetadataValue | None], vector: bytes) -> int:
    """Of all that the row consists of, in 63 bits; the lower half is of its embedding. It finds damage, not intent."""
    words = orjson.dumps([document_id, text, metadata], option=orjson.OPT_SORT_KEYS)
    return (zlib.crc32(words) & HALF >> 1) << 32 | zlib.crc32(vector)


def _vector(numbers: bytes) -> Vector:
    return np.frombuffer(numbers, dtype=NUMBERS).astype(np.float32, copy=False)
