"""What an import does next, apart from any network: the two clients feed it and carry out what it says.

Batches are stored whole or not at all, and answered in the order in which they were sent. A few travel at a time. When
a stream breaks, everything unanswered is sent again on a new one, which is safe because storing replaces.

When the services refuse documents, the batch is sent again without them. The refusal does not say which batch it means,
and a service may look at a batch before it has answered the one before; so with several on the way, they are first
sent again one at a time, until the refusal comes back for one that is alone. No document is ever dropped on a guess.
Of a source with passages that the caller may not write, it is not said which one it is: then halves are sent.
"""

import re
from collections import deque
from collections.abc import Iterator

from grpc import StatusCode

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client.errors import DocumentsRejected, Internal, Unauthenticated, VecSecError
from vecsec_client.importing.batches import Batch
from vecsec_client.importing.source_batches import all_refused, is_of_unnamed_source, later_half, with_whole_sources
from vecsec_client.results import ImportProgress, RejectedDocument
from vecsec_client.retrying import RetryPolicy, is_transient
from vecsec_client.wire.values import fill

_WINDOW = 4
"""How many batches may be unanswered: enough to keep the services busy, few enough to bound memory."""

_DOCUMENT_PATH = re.compile(r"documents\[(\d{1,4})\]\.?(.*)", re.DOTALL)
_REFUSALS = frozenset({StatusCode.INVALID_ARGUMENT, StatusCode.PERMISSION_DENIED})


class ImportSession:
    """The state of one import over as many streams as it takes."""

    def __init__(
        self,
        tenant_id: str,
        collection_id: str,
        embedding_model: str,
        *,
        policy: RetryPolicy,
        strict: bool,
        whole_sources: bool = False,
    ) -> None:
        """`strict` ends the import at the first rejected document; `whole_sources` says that batches have sources as a
        whole, of which what is not refused is not sent by itself, either."""
        self._header = fill(
            gateway_pb2.ImportDocumentsRequest(),
            tenant_id=tenant_id,
            collection_id=collection_id,
            embedding_model=embedding_model,
            whole_sources=whole_sources,
        )
        """What all requests share."""
        self._policy = policy
        self._strict = strict
        self._to_send: deque[Batch] = deque()
        self._unanswered: deque[Batch] = deque()
        self._one_by_one = 0  # how many batches are still to be sent one at a time
        self._has_more_input = True
        self._answers_on_stream = 0
        self._failures_in_a_row = 0
        self._stored_count = 0
        self._rejected_count = 0

    @property
    def wants_batch(self) -> bool:
        """Whether the next batch of the input should be added now."""
        return self._has_more_input and len(self._to_send) + len(self._unanswered) < self._window

    @property
    def awaits_answer(self) -> bool:
        """Whether the oldest batch on the way has to be answered before the import can go on."""
        return bool(self._unanswered) and not self._needs_no_answer(self._unanswered[0])

    @property
    def is_finished(self) -> bool:
        """Whether every document is settled."""
        return not (self._has_more_input or self._to_send or self._unanswered)

    def add(self, batch: Batch | None) -> None:
        """Take the next batch of the input; None at its end."""
        if batch is None:
            self._has_more_input = False
        else:
            self._to_send.append(batch)

    def requests(self) -> Iterator[gateway_pb2.ImportDocumentsRequest]:
        """What to send now, in order."""
        while self._to_send and len(self._unanswered) < self._window:
            if self._unanswered and self._ends_import(self._unanswered[-1]):
                return  # nothing behind it may be stored
            batch = self._to_send.popleft()
            self._unanswered.append(batch)
            if not self._needs_no_answer(batch):
                request = gateway_pb2.ImportDocumentsRequest(documents=batch.documents)
                request.MergeFrom(self._header)
                yield request

    def settled(self) -> Iterator[ImportProgress]:
        """Progress over batches of which nothing is left to send.

        Raises:
            DocumentsRejected: in a strict import, if documents of such a batch were rejected.
        """
        while self._unanswered and self._needs_no_answer(self._unanswered[0]):
            yield self._settle(stored_count=0)

    def answered(self, response: gateway_pb2.ImportDocumentsResponse) -> ImportProgress:
        """Take the answer to the oldest unanswered batch.

        Raises:
            Internal: if the answer is for another batch.
            VecSecError: of the status UNIMPLEMENTED, if sources were not replaced whole as they should have been.
        """
        self._answers_on_stream += 1
        if not self._unanswered or response.batch_number != self._answers_on_stream:
            raise Internal(f"the service answered batch {response.batch_number} out of turn")
        if self._header.whole_sources and not response.whole_sources:
            raise VecSecError(
                "the gateway is older than this client, or retrieval is: passages were stored, and older ones of their "
                "sources stay; upgrade the services and import again",
                code=StatusCode.UNIMPLEMENTED,
            )
        self._failures_in_a_row = 0
        return self._settle(stored_count=response.stored_count)

    def failed(self, error: VecSecError) -> float:
        """Take the failure of the stream; everything unanswered is to be sent again.

        Returns:
            Seconds to wait before a new stream.

        Raises:
            VecSecError: the same error, if the import cannot go on.
        """
        answers, self._answers_on_stream = self._answers_on_stream, 0
        on_the_way = sum(not self._needs_no_answer(batch) for batch in self._unanswered)
        self._to_send.extendleft(reversed(self._unanswered))
        self._unanswered.clear()
        if error.code in _REFUSALS and on_the_way:
            self._refused(error, on_the_way)
            return 0.0
        if isinstance(error, Unauthenticated) and answers:
            return 0.0  # the token ran out on the way; a new stream asks for a new one
        if error.is_unexplained and not self._one_by_one:
            # Some refusals are lost while a request is being written. With one batch at a time nothing is written
            # while the service answers, so the next one is heard.
            self._one_by_one = max(1, on_the_way)
            return 0.0
        self._failures_in_a_row += 1
        if not is_transient(error) or self._failures_in_a_row >= self._policy.attempts:
            raise error
        return self._policy.wait_seconds(self._failures_in_a_row, error.retry_after)

    @property
    def _window(self) -> int:
        return 1 if self._one_by_one else _WINDOW

    def _refused(self, error: VecSecError, on_the_way: int) -> None:
        violations = [_DOCUMENT_PATH.fullmatch(violation.field) for violation in error.violations]
        is_of_some_source = self._header.whole_sources and is_of_unnamed_source(error)
        if not (violations and None not in violations) and not is_of_some_source:
            raise error  # it is not, or not only, about documents
        if on_the_way > 1:
            self._one_by_one = on_the_way
            return
        batch = next(batch for batch in self._to_send if batch.documents)
        if is_of_some_source:
            self._divide(batch)
            return
        refusals = _refusals(batch, error)
        batch.drop(with_whole_sources(batch, refusals) if self._header.whole_sources else refusals)

    def _divide(self, batch: Batch) -> None:
        """Find which source of a batch is refused, by sending its halves; the only one is refused as a whole."""
        half = later_half(batch)
        if half is None:
            batch.drop(all_refused(batch))
            return
        self._to_send.insert(self._to_send.index(batch) + 1, half)
        self._one_by_one = max(1, self._one_by_one) + 1

    def _needs_no_answer(self, batch: Batch) -> bool:
        return not batch.documents or self._ends_import(batch)

    def _ends_import(self, batch: Batch) -> bool:
        return self._strict and bool(batch.rejected)

    def _settle(self, *, stored_count: int) -> ImportProgress:
        batch = self._unanswered.popleft()
        self._one_by_one = max(0, self._one_by_one - 1)
        rejected = tuple(sorted(batch.rejected, key=lambda each: each.index))
        if self._ends_import(batch):
            raise DocumentsRejected(rejected)
        self._stored_count += stored_count
        self._rejected_count += len(rejected)
        return ImportProgress(
            settled_count=batch.end,
            stored_count=self._stored_count,
            rejected_count=self._rejected_count,
            rejected=rejected,
        )


def _refusals(batch: Batch, error: VecSecError) -> dict[int, RejectedDocument]:
    """What the error says, by position in the batch."""
    refusals: dict[int, RejectedDocument] = {}
    for violation in error.violations:
        match = _DOCUMENT_PATH.fullmatch(violation.field)
        if match is None or int(match[1]) >= len(batch.documents):
            raise error
        position, field = int(match[1]), match[2]
        if position in refusals:
            continue  # the first bad field stands for the document
        refusals[position] = RejectedDocument(
            index=batch.indices[position],
            document_id=batch.documents[position].document_id,
            field=field,
            reason=violation.description,
        )
    return refusals
