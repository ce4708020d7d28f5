"""From Haystack's documents to rows and back.

Metadata that filters cannot ask for (lists, nulls, keys with blanks) is kept as JSON beside the rest, and comes back as
well.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from haystack.dataclasses import Document as HaystackDocument
from haystack.document_stores.errors import DuplicateDocumentError

from vecsec_client import Document, DocumentInput, SearchAnswer
from vecsec_client.frameworks.collection import made_up_reason
from vecsec_client.frameworks.labels import Labelling
from vecsec_client.frameworks.values import MADE_UP_KEY, as_json, in_parts, is_kept, is_part, joined, refuse_unkeepable

_REST_KEY = "haystack.meta"
"""The metadata key under which a row has, as JSON, what of a document's metadata is no metadata of rows."""

_logger = logging.getLogger(__name__)


def inputs(documents: Sequence[HaystackDocument], labelling: Labelling) -> list[DocumentInput]:
    """What is stored of these documents.

    Raises:
        ValueError: naming the document and what of it cannot be kept.
    """
    made = []
    for document in documents:
        try:
            made.append(_input(document, labelling))
        except ValueError as error:
            raise ValueError(f"document {document.id!r}: {error}") from error
    return made


def refuse_no_documents(documents: object) -> None:
    """Let through a list of documents.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(documents, list) or not all(isinstance(each, HaystackDocument) for each in documents):
        raise ValueError("documents: must be a list of Haystack's documents")


def refuse_duplicates(documents: Sequence[HaystackDocument], there: Collection[str]) -> None:
    """Let through documents whose ids are new, and come once.

    Raises:
        DuplicateDocumentError: naming the others.
    """
    seen = set(there)
    twice = []
    for document in documents:
        if document.id in seen:
            twice.append(document.id)
        seen.add(document.id)
    if twice:
        more = f" and {len(twice) - 3:,} more" if len(twice) > 3 else ""
        raise DuplicateDocumentError(
            f"{', '.join(map(repr, twice[:3]))}{more}: there already; write with DuplicatePolicy.OVERWRITE or SKIP"
        )


def document_of(row: Document, labelling: Labelling) -> HaystackDocument:
    """A row as a document, without its embedding."""
    told = {key: value for key, value in labelling.tell(row).items() if not is_part(key, _REST_KEY)}
    # What the JSON says of a label, or of metadata that the row has, is anybody's word.
    rest = {key: value for key, value in _rest(row).items() if key not in labelling.keys.names()}
    return HaystackDocument(id=row.document_id, content=row.text, meta=rest | told)


def documents_found(answer: SearchAnswer, labelling: Labelling) -> list[HaystackDocument]:
    """The documents of an answer with their scores; made-up ones say so in their metadata."""
    found = []
    for row in answer.results:
        document = document_of(row, labelling)
        meta = document.meta if answer.is_real else document.meta | {MADE_UP_KEY: made_up_reason(answer)}
        found.append(HaystackDocument(id=document.id, content=document.content, meta=meta, score=row.score))
    return found


def _input(document: HaystackDocument, labelling: Labelling) -> DocumentInput:
    if document.content is None:
        raise ValueError("no content; VecSec stores texts, so convert or leave out what has none")
    for name in ("blob", "sparse_embedding"):
        if getattr(document, name) is not None:
            raise ValueError(f"{name}: cannot be kept; leave it out (dataclasses.replace(document, {name}=None))")
    label, metadata = labelling.take(document.meta)
    refuse_unkeepable(metadata)
    flat = {key: value for key, value in metadata.items() if is_kept(key, value) and not is_part(key, _REST_KEY)}
    rest = {key: value for key, value in metadata.items() if key not in flat}
    return DocumentInput(
        document_id=document.id,
        text=document.content,
        sensitivity=label.sensitivity,
        topics=label.topics,
        readers=label.readers,
        attributes=label.attributes,
        metadata=flat | in_parts(_REST_KEY, as_json(rest)) if rest else flat,
        embedding=document.embedding or (),
    )


def _rest(row: Document) -> Mapping[str, Any]:
    kept = joined(_REST_KEY, row.metadata)
    if kept is None:
        return {}
    try:
        rest = json.loads(kept)
    except (ValueError, RecursionError):
        rest = None
    if not isinstance(rest, dict):
        _logger.warning("left out of document %r: its %s is no JSON of a dictionary", row.document_id, _REST_KEY)
        return {}
    return rest
