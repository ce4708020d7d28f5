"""Packs documents into batches that have each source as a whole."""

from dataclasses import dataclass, field

from vecsec.type.v1 import document_pb2
from vecsec_client.errors import InvalidArgument, PermissionDenied, VecSecError
from vecsec_client.importing.batches import (
    MAX_BATCH_BYTES,
    MAX_BATCH_DOCUMENTS,
    Batch,
    known_batch_size,
    require_document,
    sendable,
)
from vecsec_client.results import DocumentInput, RejectedDocument

_TOO_MANY = f"its source has more than {MAX_BATCH_DOCUMENTS:,} passages; make them longer, or several sources of it"
_TOO_LARGE = f"its source has more than {MAX_BATCH_BYTES:,} bytes; make several sources of it"
_APART = "its source came before: the passages of a source must follow one another"
_LEFT_OUT = "left out, for another passage of its source is refused"
_NOT_WRITABLE = "may not be written by this caller, or what is stored of its source may not"


@dataclass(slots=True)
class _Group:
    """A source, or a document by itself."""

    source_id: str | None = None
    documents: list[DocumentInput] = field(default_factory=list)


class SourceBatcher:
    """Takes documents one by one; those of one source, which follow one another, stay together."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = known_batch_size(batch_size)
        self._next_index = 0
        """Of the first document that is in no batch yet."""
        self._open = Batch(end=0)
        self._open_bytes = 0
        self._group = _Group()
        self._seen: set[str] = set()

    def add(self, document: DocumentInput) -> Batch | None:
        """Take a document; the batch that has no room for the source before it, if any.

        Raises:
            InvalidArgument: if it is no document at all.
        """
        require_document(document, self._next_index + len(self._group.documents))
        source_id = None if document.source is None else document.source.source_id
        full = None
        if source_id is None or source_id != self._group.source_id:
            full, self._group = self._settle_group(), _Group(source_id)
        self._group.documents.append(document)
        return full

    def rest(self) -> Batch | None:
        """What is left, one batch after the other; then None."""
        full, self._group = self._settle_group(), _Group()
        if full is None and (self._open.documents or self._open.rejected):
            full = self._close()
        return full

    def _settle_group(self) -> Batch | None:
        """Take the group into the open batch; the one that was closed for want of room."""
        group, first = self._group, self._next_index
        if not group.documents:
            return None
        messages, rejected = _messages_of(group, first, is_known=group.source_id in self._seen)
        size = sum(message.ByteSize() for message in messages)
        full = None
        if self._open.documents and (
            len(self._open.documents) + len(messages) > self._batch_size or self._open_bytes + size > MAX_BATCH_BYTES
        ):
            full = self._close()
        self._open.documents += messages
        self._open.indices += range(first, first + len(messages))
        self._open.rejected += rejected
        self._open_bytes += size
        self._next_index = self._open.end = first + len(group.documents)
        if group.source_id is not None:
            self._seen.add(group.source_id)
        return full

    def _close(self) -> Batch:
        batch, self._open, self._open_bytes = self._open, Batch(end=self._next_index), 0
        return batch


def with_whole_sources(batch: Batch, refusals: dict[int, RejectedDocument]) -> dict[int, RejectedDocument]:
    """The refused documents of a batch, by position, and with them what else there is of their sources."""
    sources = {batch.documents[position].source.source_id for position in refusals} - {""}
    others = (
        (position, message)
        for position, message in enumerate(batch.documents)
        if position not in refusals and message.source.source_id in sources
    )
    left_out = {
        position: RejectedDocument(
            index=batch.indices[position], document_id=message.document_id, field="source", reason=_LEFT_OUT
        )
        for position, message in others
    }
    return refusals | left_out


def is_of_unnamed_source(error: VecSecError) -> bool:
    """Whether a batch is refused for what is stored of one of its sources."""
    return isinstance(error, PermissionDenied) and [each.field for each in error.violations] == ["documents"]


def later_half(batch: Batch) -> Batch | None:
    """Take the later half of a batch out of it, between two sources; None if there is one source alone."""
    documents = batch.documents
    starts = [
        position
        for position in range(1, len(documents))
        if not documents[position].source.source_id
        or documents[position].source.source_id != documents[position - 1].source.source_id
    ]
    if not starts:
        return None
    at = min(starts, key=lambda start: abs(2 * start - len(documents)))
    first = batch.indices[at]
    later = Batch(
        batch.end, documents[at:], batch.indices[at:], [each for each in batch.rejected if each.index >= first]
    )
    batch.end, batch.documents, batch.indices = first, documents[:at], batch.indices[:at]
    batch.rejected = [each for each in batch.rejected if each.index < first]
    return later


def all_refused(batch: Batch) -> dict[int, RejectedDocument]:
    """All documents of a batch, by position, as what their caller may not write."""
    return {
        position: RejectedDocument(index=index, document_id=message.document_id, field="", reason=_NOT_WRITABLE)
        for position, (index, message) in enumerate(zip(batch.indices, batch.documents, strict=True))
    }


def _messages_of(
    group: _Group, first: int, *, is_known: bool
) -> tuple[list[document_pb2.DocumentInput], list[RejectedDocument]]:
    """All of a group to be sent, or all of it refused."""
    messages: list[document_pb2.DocumentInput] = []
    problems: dict[int, tuple[str, str]] = {}
    for position, document in enumerate(group.documents):
        try:
            messages.append(sendable(document))
        except InvalidArgument as error:
            problems[position] = error.violations[0].field, error.violations[0].description
    reason = _LEFT_OUT
    if group.source_id is not None:
        if is_known:
            reason = _APART
        elif len(messages) > MAX_BATCH_DOCUMENTS:
            reason = _TOO_MANY
        elif sum(message.ByteSize() for message in messages) > MAX_BATCH_BYTES:
            reason = _TOO_LARGE
    if not problems and reason is _LEFT_OUT:
        return messages, []
    refused = [(document, *problems.get(place, ("source", reason))) for place, document in enumerate(group.documents)]
    return [], [
        RejectedDocument(index=index, document_id=document.document_id, field=field_name, reason=why)
        for index, (document, field_name, why) in enumerate(refused, first)
    ]
