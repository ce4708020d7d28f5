"""Carries out an import for the asyncio client."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client.connection import new_request_id
from vecsec_client.errors import Unavailable, VecSecError
from vecsec_client.importing.batches import Batch, TakesDocuments, batches_of
from vecsec_client.importing.session import ImportSession
from vecsec_client.results import DocumentInput, ImportProgress
from vecsec_client.retrying import Deadline
from vecsec_client.tokens import AsyncTokenProvider, bearer_metadata, provided
from vecsec_client.wire.error_details import from_rpc_error

_LISTENING_SECONDS = 0.25
"""How long a new stream is given to be refused before anything is written to it, once a refusal was lost: grpc.aio
reports an internal error if the other side ends the stream while a message is being written (seen with 1.85)."""

if TYPE_CHECKING:
    from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

    ImportCall = grpc.aio.StreamStreamCall[gateway_pb2.ImportDocumentsRequest, gateway_pb2.ImportDocumentsResponse]


async def run_import(
    session: ImportSession, batches: AsyncIterator[Batch], stream: "ImportStream", deadline: Deadline
) -> AsyncIterator[ImportProgress]:
    """Do what the session says until every document is settled.

    Raises:
        VecSecError: when the session cannot go on, or not before the deadline.
    """
    try:
        while not session.is_finished:
            while session.wants_batch:
                session.add(await anext(batches, None))
            for settled in session.settled():
                yield settled
            try:
                for request in session.requests():
                    await stream.send(request)
                progress = session.answered(await stream.receive()) if session.awaits_answer else None
            except VecSecError as error:
                stream.cancel()
                wait = session.failed(error)
                if not deadline.allows(wait):
                    raise
                await asyncio.sleep(wait)
                continue
            if progress is not None:
                yield progress
        await stream.finish()
    except VecSecError as error:
        error.request_id = error.request_id or stream.request_id
        raise
    finally:
        stream.cancel()


class ImportStream:
    """The stream of an import, opened when something is first sent, and again after it was cancelled."""

    def __init__(
        self, stub: "Callable[[], GatewayServiceAsyncStub]", token: AsyncTokenProvider, deadline: Deadline
    ) -> None:
        self._stub = stub
        self._token = token
        self._deadline = deadline
        self._request_id = new_request_id()
        self._is_sent = False
        self._call: ImportCall | None = None
        self._listens_first = False

    @property
    def request_id(self) -> str:
        """Under which the services' logs have it; empty if nothing was sent."""
        return self._request_id if self._is_sent else ""

    async def send(self, request: gateway_pb2.ImportDocumentsRequest) -> None:
        if self._call is None:
            metadata = bearer_metadata(await provided(self._token), self._request_id)
            self._is_sent = True
            self._call = self._stub().ImportDocuments(timeout=self._deadline.remaining(), metadata=metadata)
            await _open_or_ended(self._call)
            if self._listens_first:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LISTENING_SECONDS):
                        await self._call.code()
        try:
            await self._call.write(request)
        except (asyncio.InvalidStateError, grpc.RpcError):
            return  # the stream has ended; only reading tells how

    async def receive(self) -> gateway_pb2.ImportDocumentsResponse:
        if self._call is None:
            raise Unavailable("the import stream is not open")
        try:
            with _cancellation_kept():
                response = await self._call.read()
        except grpc.RpcError as error:
            failure = from_rpc_error(error, self._request_id)
            self._listens_first = failure.is_unexplained
            raise failure from error
        if not isinstance(response, gateway_pb2.ImportDocumentsResponse):
            raise Unavailable("the service ended the import before it had answered every batch")
        return response

    async def finish(self) -> None:
        """Say that nothing more comes. Every batch is durable by now, so a failure of the ending changes nothing."""
        if self._call is not None:
            try:
                await self._call.done_writing()
                await self._call.read()
            except (grpc.RpcError, asyncio.InvalidStateError):
                self._call = None

    def cancel(self) -> None:
        """End the stream; what is unanswered may or may not have been stored."""
        if self._call is not None:
            self._call.cancel()
            self._call = None


async def _open_or_ended(call: "ImportCall") -> None:
    """Wait until the stream can be written to: who writes to one that is cancelled before it is open, as by closing the
    client, is never woken (grpc.aio 1.85, `_metadata_sent`)."""
    opening, ending = asyncio.ensure_future(call.wait_for_connection()), asyncio.ensure_future(call.code())
    try:
        await asyncio.wait((opening, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        opening.cancel()
        ending.cancel()
        await asyncio.gather(opening, ending, return_exceptions=True)


@contextmanager
def _cancellation_kept() -> Iterator[None]:
    """Raise CancelledError at the end of the block if this task was cancelled in it, however the block ended.

    Where both come in one moment, grpc.aio raises the stream's own error alone (1.85, `_prepare_rpc`). Who tries again
    after errors would go on with what was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None, "used in coroutines"
    cancellations = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > cancellations:
            raise asyncio.CancelledError


async def async_batches_of(
    documents: Iterable[DocumentInput] | AsyncIterable[DocumentInput], batcher: TakesDocuments
) -> AsyncIterator[Batch]:
    """Pack documents, reading them no earlier than needed."""
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            batch = batcher.add(document)
            if batch is not None:
                yield batch
        documents = ()
    for batch in batches_of(documents, batcher):
        yield batch
