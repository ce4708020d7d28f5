"""Whether a peer serves, found out in the background: by asking it again and again, and by waiting for its own word.

The gateway itself is SERVING while it runs: it answers with a mock or a clear refusal when a peer is gone, and taking
it out of rotation would turn those into connection errors.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecsec_chassis.background import running_in_background
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.transport.cancellation import cancellation_kept

log = structlog.get_logger()

POLICY_ENTRY = "vecsec.gateway.policy"
RETRIEVAL_ENTRY = "vecsec.gateway.retrieval"

_ANSWER_SECONDS = 1.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_SOON_SECONDS = 0.1
"""Until a peer that is not well is asked again, and until its word is waited for again."""
_MISSES_THAT_TELL = 2
"""So many questions in a row have to go unanswered, for one may have been lost in a moment's trouble."""

Tell = Callable[[], Awaitable[None]]


class PeerHealth:
    """One peer's health, by its own health service."""

    def __init__(self, name: str, channel: grpc.aio.Channel, interval_seconds: float, own_delay: OwnDelay) -> None:
        """`name` is for the log; a peer that is well is asked every so many seconds."""
        self._name = name
        self._stub = health_pb2_grpc.HealthStub(channel)
        self._interval_seconds = interval_seconds
        self._own_delay = own_delay
        self.is_serving = False
        """Whether it said so last."""
        self.is_silent = False
        """Whether it takes calls and did not answer the last question, as a process does that hangs."""
        self._misses = 0
        self._was_serving: bool | None = None
        self._was_away = False
        self._on_silence: list[Callable[[], None]] = []
        self._on_recovery: list[Callable[[], None]] = []

    def on_silence(self, tell: Callable[[], None]) -> None:
        """Tell each time it is found silent, from the second time in a row."""
        self._on_silence.append(tell)

    def on_recovery(self, tell: Callable[[], None]) -> None:
        """Tell when it serves after it had not, or could not be reached."""
        self._on_recovery.append(tell)

    @asynccontextmanager
    async def watched(self, show: Tell) -> AsyncIterator[None]:
        """Keep this up to date until the block ends; `show` is called after each look."""
        async with (
            running_in_background(self._keep_asking(show), f"ask after the health of {self._name}"),
            running_in_background(self._keep_listening(show), f"wait for word from {self._name}"),
        ):
            yield

    async def _keep_asking(self, show: Tell) -> None:
        while True:
            self._note(await self._ask())
            await show()
            soon = min(_SOON_SECONDS, self._interval_seconds)
            await asyncio.sleep(self._interval_seconds if self.is_serving else soon)

    async def _keep_listening(self, show: Tell) -> None:
        """Hear at once that it serves again. That it serves no more is left to the asking: of several replicas behind
        one name this listens to one."""
        while True:
            with cancellation_kept():
                try:
                    async for answer in self._stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
                        if answer.status == _SERVING:
                            self._note(True)
                            await show()
                        else:
                            self._was_away = True
                except grpc.aio.AioRpcError:
                    pass  # it went, and a new stream waits until it is there
            self._was_away = True
            await asyncio.sleep(_SOON_SECONDS)

    def _note(self, serving: bool) -> None:
        self.is_serving = serving
        if not serving:
            self._was_away = True
        elif self._was_away:
            self._was_away = False
            for tell in self._on_recovery:
                tell()
        if self._was_serving is serving:
            return
        self._was_serving = serving
        if serving:
            log.info("peer is serving", peer=self._name)
        else:
            log.warning("peer is not serving", peer=self._name)

    @property
    def hangs(self) -> bool:
        """Whether it was silent more than once in a row."""
        return self._misses >= _MISSES_THAT_TELL

    async def _ask(self) -> bool:
        try:
            answer = await self._stub.Check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            is_silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if is_silent and self._own_delay.is_late:  # its answer may lie here unread
                return self.is_serving
            self.is_silent = is_silent
            self._misses = self._misses + 1 if is_silent else 0
            if self.hangs:
                for tell in self._on_silence:
                    tell()
            return False
        self.is_silent, self._misses = False, 0
        return bool(answer.status == _SERVING)
