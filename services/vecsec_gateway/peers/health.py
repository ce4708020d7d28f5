"""Health entries that say whether the peers serve, kept up to date in the background.

The gateway itself is SERVING while it runs: it answers with a mock or a clear refusal when a peer is gone, and taking
it out of rotation would turn those into connection errors.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vecsec_chassis.background import running_in_background
from vecsec_chassis.rpc.server import Health

log = structlog.get_logger()

POLICY_ENTRY = "vecsec.gateway.policy"
RETRIEVAL_ENTRY = "vecsec.gateway.retrieval"

_ANSWER_SECONDS = 1.0


class PeerHealth:
    """Asks the peers' own health services."""

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], health: Health, interval_seconds: float, silent: set[str]
    ) -> None:
        """`channels` by the name of the health entry that tells of their peer; `silent` is kept up to date with the
        entries of peers that take calls and do not answer, as a process does that hangs."""
        self._stubs = {entry: health_pb2_grpc.HealthStub(channel) for entry, channel in channels.items()}
        self._health = health
        self._interval_seconds = interval_seconds
        self._silent = silent
        self._was_serving: dict[str, bool] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the entries up to date until the block ends; they are there, NOT_SERVING, from the start."""
        for entry in self._stubs:
            await self._health.set_serving(False, entry)
        async with running_in_background(self._keep_up_to_date(), "ask after the peers' health"):
            yield

    async def _keep_up_to_date(self) -> None:
        while True:
            await asyncio.gather(*(self._ask(entry) for entry in self._stubs))
            await asyncio.sleep(self._interval_seconds)

    async def _ask(self, entry: str) -> None:
        serving = await self._is_serving(entry)
        await self._health.set_serving(serving, entry)
        if self._was_serving.get(entry) is not serving:
            self._was_serving[entry] = serving
            if serving:
                log.info("peer is serving", peer=entry)
            else:
                log.warning("peer is not serving", peer=entry)

    async def _is_serving(self, entry: str) -> bool:
        try:
            answer = await self._stubs[entry].Check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._silent.add(entry)
            else:
                self._silent.discard(entry)
            return False
        self._silent.discard(entry)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
