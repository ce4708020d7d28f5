"""The batches of one import on their way to retrieval, over one stream, or over another where the tenant has moved."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias

import grpc

from vecsec_chassis.background import cancel_and_wait, running_in_background
from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_gateway.peers.batch_parts import parts_of
from vecsec_gateway.peers.contract import BatchStored, BatchToStore
from vecsec_gateway.peers.status import retrieval_error

ImportCall: TypeAlias = "grpc.aio.StreamStreamCall[BatchToStore, BatchStored]"


class Upload:
    """Sends batches. The one before is acknowledged before the next one comes."""

    def __init__(self, batches: AsyncIterator[BatchToStore]) -> None:
        self._batches = batches
        self._broken_off: list[Exception] = []
        self._sent = self._acknowledged = self._stored = 0
        self._is_sent = False
        self._grant = ""
        self._unanswered: BatchToStore | None = None
        self._refused_at = -1
        self.is_over = False
        """Whether a stream has ended in good order."""
        self._next: asyncio.Task[BatchToStore | None] | None = None
        """Waits for the next batch; it outlives the stream over which that was to be sent."""

    @property
    def may_begin_anew(self) -> bool:
        """Whether what was refused can be sent to another shard: once for each batch."""
        if self._unanswered is None or self._refused_at == self._acknowledged:
            return False
        self._refused_at = self._acknowledged
        return True

    async def over(self, call: ImportCall) -> AsyncGenerator[BatchStored, None]:
        """Send over this call what is not acknowledged yet. What is stored is numbered and added up over all streams,
        for retrieval begins anew with each.

        Raises:
            VecSecError: what retrieval says.
        """
        # In a task of our own: gRPC's would go on waiting for batches when the call has ended.
        async with running_in_background(self._send(call), "send batches to retrieval", may_end=True):
            try:
                async for response in call:
                    self._acknowledged += 1
                    self._stored += response.stored_count
                    self._unanswered = None
                    response.batch_number, response.total_stored_count = self._acknowledged, self._stored
                    yield response
                self.is_over = True
            except grpc.aio.AioRpcError as error:
                raise retrieval_error(error) from error
            finally:
                call.cancel()  # does nothing to a call that is done

    async def close(self) -> None:
        """Wait for no more batches."""
        if self._next is not None:
            await cancel_and_wait((self._next,))

    def demand_whole(self) -> None:
        """Raise what ended the batches early.

        Raises:
            RetrievalUnavailable: if retrieval ended the stream before the end.
        """
        if self._broken_off:
            raise self._broken_off[0]
        if not self._is_sent or self._acknowledged < self._sent:
            raise RetrievalUnavailable(
                "the import was cut off; resume it after the last acknowledged batch",
                detail=f"retrieval ended the stream after {self._acknowledged} of {self._sent} batches, "
                "and more may have come",
            )

    async def _send(self, call: ImportCall) -> None:
        # An import whose batches break off is ended in good order, and the error raised once everything sent before is
        # acknowledged: of a call that is cancelled, the caller does not learn what is already durable.
        try:
            if self._unanswered is not None:
                self._unanswered.grant = self._grant  # each stream begins with one
                if not await self._written(call, self._unanswered):
                    return
            while (batch := await self._next_batch()) is not None:
                self._sent += 1
                self._unanswered, self._grant = batch, batch.grant or self._grant
                if not await self._written(call, batch):
                    return
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised in the end)
            self._broken_off.append(error)
        except BaseException:
            call.cancel()
            raise
        self._is_sent = True
        await call.done_writing()

    async def _next_batch(self) -> BatchToStore | None:
        """The next one; None if there are no more."""
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        batch = await asyncio.shield(self._next)
        self._next = None
        return batch

    async def _read(self) -> BatchToStore | None:
        return await anext(self._batches, None)

    async def _written(self, call: ImportCall, batch: BatchToStore) -> bool:
        """Whether it was; if not, the call has ended, and only reading tells how."""
        try:
            for part in parts_of(batch):
                await call.write(part)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True
