"""Packs documents into batches, by number and by size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vecsec.type.v1 import document_pb2
from vecsec_client.errors import InvalidArgument
from vecsec_client.results import DocumentInput, RejectedDocument
from vecsec_client.wire.values import document_to_proto

MAX_BATCH_DOCUMENTS = 1000
"""What the contract allows in one request."""
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Keeps a request well below the services' message limit; no single document that the contract allows is larger."""


@dataclass(slots=True)
class Batch:
    """Documents that follow one another in the caller's iterable: those to send, and those already refused."""

    end: int
    """The index after the last of them."""
    documents: list[document_pb2.DocumentInput] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    """The index of each document to send."""
    rejected: list[RejectedDocument] = field(default_factory=list)

    def drop(self, refusals: dict[int, RejectedDocument]) -> None:
        """Take out the documents at these positions, as refused."""
        self.rejected.extend(refusals.values())
        kept = [position for position in range(len(self.documents)) if position not in refusals]
        self.documents = [self.documents[position] for position in kept]
        self.indices = [self.indices[position] for position in kept]


class TakesDocuments(Protocol):
    """Packs documents."""

    def add(self, document: DocumentInput) -> Batch | None:
        """Take a document; a batch that is full, if there is one.

        Raises:
            InvalidArgument: if it is no document at all.
        """
        ...

    def rest(self) -> Batch | None:
        """What is left, one batch after the other; then None."""
        ...


def known_batch_size(batch_size: int) -> int:
    """The size of a batch.

    Raises:
        InvalidArgument: if it is not one that the contract allows.
    """
    given: object = batch_size  # whatever the type says
    if not isinstance(given, int) or not 1 <= batch_size <= MAX_BATCH_DOCUMENTS:
        raise InvalidArgument.of("batch_size", f"must be 1 to {MAX_BATCH_DOCUMENTS}")
    return batch_size


def require_document(document: DocumentInput, index: int) -> None:
    """Refuse what is none.

    Raises:
        InvalidArgument: naming its place.
    """
    given: object = document  # whatever the type says
    if not isinstance(given, DocumentInput):
        raise InvalidArgument.of(f"documents[{index}]", f"must be a DocumentInput, not a {type(given).__name__}")


def sendable(document: DocumentInput) -> document_pb2.DocumentInput:
    """A document as it is sent.

    Raises:
        InvalidArgument: naming the field, relative to the document, that cannot be sent.
    """
    message = document_to_proto(document)
    size = message.ByteSize()
    if size > MAX_BATCH_BYTES:
        raise InvalidArgument.of("text", f"a document of {size:,} bytes is larger than any the services take")
    return message


class Batcher:
    """Takes documents one by one and gives a batch whenever one is full."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = known_batch_size(batch_size)
        self._next_index = 0
        self._open = Batch(end=0)
        self._open_bytes = 0

    def add(self, document: DocumentInput) -> Batch | None:
        """Take a document; the batch that it completed, if any. One that cannot be sent is kept as rejected.

        Raises:
            InvalidArgument: if it is no document at all.
        """
        index = self._next_index
        require_document(document, index)
        self._next_index += 1
        try:
            message = sendable(document)
            size = message.ByteSize()
        except InvalidArgument as error:
            violation = error.violations[0]
            self._open.rejected.append(
                RejectedDocument(
                    index=index,
                    document_id=document.document_id,
                    field=violation.field,
                    reason=violation.description,
                )
            )
            self._open.end = index + 1
            return self._close() if len(self._open.rejected) >= self._batch_size else None
        full = self._close() if self._open_bytes + size > MAX_BATCH_BYTES else None
        self._append(index, message, size)
        if full is None and len(self._open.documents) >= self._batch_size:
            return self._close()
        return full

    def rest(self) -> Batch | None:
        """The last, partly filled batch, if there is one; then None."""
        return self._close() if self._open.documents or self._open.rejected else None

    def _append(self, index: int, message: document_pb2.DocumentInput, size: int) -> None:
        self._open.documents.append(message)
        self._open.indices.append(index)
        self._open.end = index + 1
        self._open_bytes += size

    def _close(self) -> Batch:
        batch = self._open
        self._open = Batch(end=self._next_index)
        self._open_bytes = 0
        return batch


def batches_of(documents: Iterable[DocumentInput], batcher: TakesDocuments) -> Iterator[Batch]:
    """Pack documents, reading them no earlier than needed.

    Raises:
        InvalidArgument: if they are no documents.
    """
    given: object = documents  # whatever the type says
    if not isinstance(given, Iterable):
        raise InvalidArgument.of("documents", f"must be an iterable of DocumentInput, not a {type(given).__name__}")
    for document in documents:
        batch = batcher.add(document)
        if batch is not None:
            yield batch
    while (rest := batcher.rest()) is not None:
        yield rest
