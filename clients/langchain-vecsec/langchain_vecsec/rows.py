"""From LangChain's documents to rows and back. What a row cannot keep is refused, so nothing comes back changed."""

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document as LangChainDocument

from langchain_vecsec.labels import Labelling
from vecsec_client import Document, DocumentInput, Scalar, ScoredDocument, SearchAnswer

MADE_UP_KEY = "vecsec_made_up"
"""In the metadata of made-up (mock) rows, which come only to whoever asked for them: why they are made up."""

_INTEGERS = range(-(2**63), 2**63)


def inputs(
    ids: Sequence[str],
    texts: Sequence[str],
    metadatas: Sequence[Mapping[str, Any]],
    vectors: Sequence[Sequence[float]],
    labelling: Labelling,
) -> list[DocumentInput]:
    """What is stored of these documents; no vectors for the service to make them.

    Raises:
        ValueError: naming the document and its metadata's key that cannot be kept.
    """
    embeddings: Sequence[Sequence[float]] = vectors or [()] * len(texts)
    made = []
    for document_id, text, metadata, embedding in zip(ids, texts, metadatas, embeddings, strict=True):
        try:
            label, rest = labelling.take(metadata)
            kept = {key: _kept(key, value) for key, value in rest.items()}
        except ValueError as error:
            raise ValueError(f"document {document_id!r}: {error}") from error
        made.append(
            DocumentInput(
                document_id=document_id,
                text=text,
                sensitivity=label.sensitivity,
                topics=label.topics,
                readers=label.readers,
                attributes=label.attributes,
                metadata=kept,
                embedding=embedding,
            )
        )
    return made


def document(row: Document, labelling: Labelling) -> LangChainDocument:
    """A row as a document."""
    return LangChainDocument(row.text, id=row.document_id, metadata=labelling.tell(row))


def documents_found(answer: SearchAnswer, labelling: Labelling) -> list[tuple[LangChainDocument, float]]:
    """The documents of an answer with their scores; made-up ones say so in their metadata."""
    return [(_found(row, answer, labelling), row.score) for row in answer.results]


def texts_of(answer: SearchAnswer) -> list[str]:
    """The texts of an answer."""
    return [row.text for row in answer.results]


def vectors_of(answer: SearchAnswer) -> list[Sequence[float]]:
    """The embeddings of an answer that was asked for with them."""
    return [row.embedding for row in answer.results]


def ids_of(given: Sequence[str | None], count: int) -> list[str]:
    """An id for each document: the given one, or a new one where there is none.

    Raises:
        ValueError: if there are more or fewer than documents.
    """
    if isinstance(given, str) or len(given) != count:
        raise ValueError(f"ids: {len(given)} for {count} documents; give a list with one for each, or none")
    return [str(uuid.uuid4()) if known is None else known for known in given]


def _found(row: ScoredDocument, answer: SearchAnswer, labelling: Labelling) -> LangChainDocument:
    made = document(row, labelling)
    if not answer.is_real:
        made.metadata[MADE_UP_KEY] = _reason(answer)
    return made


def _reason(answer: SearchAnswer) -> str:
    return "no reason given" if answer.mock_reason is None else answer.mock_reason.value


def _kept(key: object, value: object) -> Scalar:
    if not isinstance(key, str):
        raise ValueError(f"metadata: the key {key!r} is no text; keys are texts")
    if key == MADE_UP_KEY:
        raise ValueError(f"metadata[{key!r}]: the document is made up (mock) and is not stored as a real one")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"metadata[{key!r}]: {value} cannot be kept; leave the key out")
    if isinstance(value, int) and value not in _INTEGERS:
        raise ValueError(f"metadata[{key!r}]: {value} has more than 64 bits; store it as a text")
    if isinstance(value, str | int | float | bool):
        return value
    if value is None:
        raise ValueError(f"metadata[{key!r}]: None cannot be kept; leave the key out")
    raise ValueError(
        f"metadata[{key!r}]: a {type(value).__name__} cannot be kept, only texts, numbers and booleans; store it as a "
        "text (json.dumps), or as several keys"
    )
