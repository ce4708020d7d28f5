"""Asks the other shards what they hold, again and again: the first round before this service says that it serves."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
import structlog

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2_grpc as retrieval_grpc
from vecsec_chassis.background import running_in_background
from vecsec_chassis.placement.placement import Placement, Shard
from vecsec_chassis.placement.watched_placement import WatchedPlacement
from vecsec_chassis.tls.credentials import channel_credentials
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_retrieval.shard.own_tenants import OwnTenants
from vecsec_retrieval.shard.question_times import REFRESH_SECONDS, QuestionTimes
from vecsec_retrieval.shard.survey import ShardWord

log = structlog.get_logger()

_ANSWER_SECONDS = 2.0
_ANSWER_BYTES = 64 * 1024 * 1024
"""Some million cells."""

_Question: TypeAlias = tuple[Shard, QuestionTimes]


class OtherShards:
    """Keeps the survey up to date."""

    def __init__(
        self,
        own: OwnTenants,
        placement: WatchedPlacement,
        note: Callable[[Placement], None],
        store_id: str,
        certificates: WatchedCertificates | None,
    ) -> None:
        """`note` has the placement noted in the store, if that could not be done yet; `store_id` is this shard's own,
        which no other may have."""
        self._note = note
        self._own = own
        self._placement = placement
        self._store_id = store_id
        self._certificates = certificates
        self._news = asyncio.Event()
        self._complaints: dict[str, str] = {}
        placement.on_change(self._news.set)

    @asynccontextmanager
    async def being_asked(self) -> AsyncIterator[None]:
        """Ask once, and then until the block ends."""
        self._news.clear()
        questions = self._begin_round()
        pauses = await asyncio.gather(*(self._ask(shard, times) for shard, times in questions))
        asking = self._keep_asking(questions, pauses)
        async with running_in_background(asking, "ask the other shards what they hold"):
            yield

    async def _keep_asking(self, questions: list[_Question], pauses: list[float]) -> None:
        """Each shard in its own time, so that none waits for one that is silent; anew by each new placement."""
        while True:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._keep_asking_one(shard, times, pause))
                    for (shard, times), pause in zip(questions, pauses, strict=True)
                ]
                await self._wait_for_news()
                for task in tasks:
                    task.cancel()
            questions = self._begin_round()
            pauses = [0.0] * len(questions)

    async def _keep_asking_one(self, shard: Shard, times: QuestionTimes, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            pause = await self._ask(shard, times)

    async def _wait_for_news(self) -> None:
        while not self._news.is_set():
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                self._note(self._placement.current)  # nearly always it is
        self._news.clear()

    def _begin_round(self) -> list[_Question]:
        self._note(self._placement.current)
        others = [shard for shard in self._placement.current.shards if shard.name != self._own.shard]
        self._own.survey.keep_only(frozenset(shard.name for shard in others))
        return [(shard, QuestionTimes()) for shard in others]

    async def _ask(self, shard: Shard, times: QuestionTimes) -> float:
        """Ask one; seconds until it is asked again."""
        has_answered = False
        # A channel a question: they are few, and addresses and certificates change.
        try:
            async with self._channel(shard.address) as channel:
                has_answered = await self._heard(shard, retrieval_grpc.RetrievalServiceStub(channel), times)
        except grpc.aio.AioRpcError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # gRPC may tell of it as if it were the peer's
                raise asyncio.CancelledError from error
            self._complain(shard, f"does not answer: {error.code().name}")
        return times.pause(has_answered=has_answered, is_missing=shard.name in self._own.missing)

    async def _heard(
        self, shard: Shard, stub: "retrieval_grpc.RetrievalServiceAsyncStub", times: QuestionTimes
    ) -> bool:
        """Whether it is the shard that was asked. All its cells are asked for where that can be of use."""
        answer = await stub.DescribeShard(pb.DescribeShardRequest(), timeout=_ANSWER_SECONDS)
        if not self._is_meant(shard, answer):
            return False
        if answer.placement_epoch < self._placement.current.epoch and not times.wants_cells(time.monotonic()):
            return True
        answer = await stub.DescribeShard(pb.DescribeShardRequest(include_cells=True), timeout=_ANSWER_SECONDS)
        if not self._is_meant(shard, answer):
            return False
        times.told_cells(time.monotonic())
        self._complain(shard, "")
        cells = {cell.tenant_digest: cell.epoch for cell in answer.cells}
        self._own.survey.note(
            ShardWord(shard.name, answer.store_id, answer.placement_epoch, cells, is_draining=answer.is_draining)
        )
        return True

    def _is_meant(self, shard: Shard, answer: pb.DescribeShardResponse) -> bool:
        if answer.shard != shard.name:
            self._complain(shard, f"its address is that of shard {answer.shard!r}; correct the placement")
        elif answer.store_id == self._store_id:
            self._complain(shard, f"has this shard's own store ({self._store_id}); one of the two is a copy")
        else:
            return True
        return False

    def _complain(self, shard: Shard, complaint: str) -> None:
        if self._complaints.get(shard.name, "") == complaint:
            return
        self._complaints[shard.name] = complaint
        if complaint:
            log.warning("another shard has no word", shard=shard.name, address=shard.address, reason=complaint)
        else:
            log.info("another shard told what it holds", shard=shard.name, address=shard.address)

    def _channel(self, address: str) -> grpc.aio.Channel:
        options = [("grpc.max_receive_message_length", _ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
        if self._certificates is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, channel_credentials(self._certificates.current), options=options)
