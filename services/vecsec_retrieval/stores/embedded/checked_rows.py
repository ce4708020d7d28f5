"""How a row lies in the log of an embedded cell, with a checksum among its metadata."""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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


def entry_of(row: StoredRow) -> tuple[bytes, str, str]:
    """A row with its checksum as ChromaDB writes it into a log entry: vector, encoding and metadata."""
    whole = sealed(row)
    assert whole.embedding is not None
    metadata = {key: value for key, value in whole.metadata.items() if value is not None}
    vector = whole.embedding.astype(NUMBERS, copy=False).tobytes()
    return vector, _ENCODING, orjson.dumps({**metadata, _DOCUMENT_KEY: row.text}).decode()


def read_row(document_id: str, vector: bytes, encoding: str, metadata_json: str, *, with_embeddings: bool) -> StoredRow:
    """The row of a log entry's fields.

    Raises:
        TornRow: if it does not agree with its checksum, or cannot be read.
    """
    if encoding != _ENCODING or len(vector) % NUMBERS.itemsize:
        raise TornRow(f"row {document_id!r}: its embedding cannot be read")
    metadata = _metadata(document_id, metadata_json)
    text, checksum = metadata.pop(_DOCUMENT_KEY, ""), metadata.pop(SUM_KEY, None)
    if checksum is not None and checksum != _sum(document_id, text, metadata, vector):
        raise TornRow(f"row {document_id!r} does not agree with its checksum")
    return StoredRow(document_id, text, metadata, _vector(vector) if with_embeddings else None)


def relabelled_metadata(document_id: str, metadata_json: str, tags: Mapping[str, MetadataValue]) -> str:
    """The metadata of a log entry with other tags; the half of its checksum that is of the embedding stays.

    Raises:
        TornRow: if it does not agree with its checksum as it is: what is damaged must not get a new one.
    """
    metadata = _metadata(document_id, metadata_json)
    text, checksum = metadata.pop(_DOCUMENT_KEY, ""), metadata.pop(SUM_KEY, None)
    if checksum is not None and checksum >> 32 != _words_sum(document_id, text, metadata):
        raise TornRow(f"row {document_id!r} does not agree with its checksum")
    metadata.update(tags)
    if checksum is not None:
        metadata[SUM_KEY] = _words_sum(document_id, text, metadata) << 32 | checksum & HALF
    metadata[_DOCUMENT_KEY] = text
    return orjson.dumps(metadata).decode()


def _metadata(document_id: str, metadata_json: str) -> dict[str, Any]:
    """What a log entry has beside the embedding.

    Raises:
        TornRow: if it cannot be read.
    """
    try:
        metadata: dict[str, Any] = orjson.loads(metadata_json)
        has_gaps = None in metadata.values()
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise TornRow(f"row {document_id!r}: its metadata cannot be read") from error
    return {key: value for key, value in metadata.items() if value is not None} if has_gaps else metadata


def _sum(document_id: str, text: str, metadata: Mapping[str, MetadataValue | None], vector: bytes) -> int:
    """Of all that the row consists of, in 63 bits; the lower half is of its embedding. It finds damage, not intent."""
    return _words_sum(document_id, text, metadata) << 32 | zlib.crc32(vector)


def _words_sum(document_id: str, text: str, metadata: Mapping[str, MetadataValue | None]) -> int:
    words = orjson.dumps([document_id, text, metadata], option=orjson.OPT_SORT_KEYS)
    return zlib.crc32(words) & HALF >> 1


def _vector(numbers: bytes) -> Vector:
    return np.frombuffer(numbers, dtype=NUMBERS).astype(np.float32, copy=False)
