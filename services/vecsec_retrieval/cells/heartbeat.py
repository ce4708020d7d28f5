"""Asks the vector store again and again whether it answers and takes writes, and says so: in the health, in metrics and
the log. One that takes none is no reason not to serve: what is there can be read."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from vecsec_chassis.domain.errors import RetrievalUnavailable
from vecsec_chassis.rpc.server import Health
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.store import CellStore

log = structlog.get_logger()

INTERVAL_SECONDS = 3.0
_TIMEOUT_SECONDS = 5.0

CELLS = "vecsec.retrieval.cells"
"""The name under which the health service says whether every cell could be read."""
WRITES = "vecsec.retrieval.writes"
"""The name under which it says whether the store takes writes."""


class StoreHeartbeat:
    """Keeps the service's health true."""

    def __init__(self, store: CellStore, damaged: Callable[[], Collection[str]], metrics: RetrievalMetrics) -> None:
        self._store = store
        self._damaged = damaged
        self._metrics = metrics
        self._is_up: bool | None = None
        self._refusal: str | None = None

    async def beat(self, health: Health) -> None:
        """Ask once."""
        try:
            # Not `wait_for`, which in Python 3.11 can swallow the cancellation that ends this loop.
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                # A thread of its own: the store's threads may all be waiting for a server that is gone.
                refusal = await asyncio.to_thread(self._ask)
        except RetrievalUnavailable as error:
            self._note(False, error.detail)
        except TimeoutError:
            self._note(False, f"no answer within {_TIMEOUT_SECONDS:g} s")
        else:
            self._note(True, None)
            self._note_writes(refusal)
        await health.set_serving(bool(self._is_up))
        await health.set_serving(not self._damaged(), CELLS)
        await health.set_serving(bool(self._is_up) and self._refusal is None, WRITES)

    async def run(self, health: Health) -> None:
        """Ask for ever."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.beat(health)

    def _ask(self) -> str | None:
        self._store.heartbeat()
        return self._store.refusal()

    def _note_writes(self, refusal: str | None) -> None:
        self._metrics.store_writable.set(int(refusal is None))
        if refusal == self._refusal:
            return
        if refusal is not None:
            log.error("Vector store takes no writes", location=self._store.location, reason=refusal)
        else:
            log.info("Vector store takes writes again", location=self._store.location)
        self._refusal = refusal

    def _note(self, is_up: bool, detail: str | None) -> None:
        self._metrics.store_up.set(int(is_up))
        if is_up == self._is_up:
            return
        if not is_up:
            log.error(
                "Vector store connection lost", kind=self._store.kind, location=self._store.location, detail=detail
            )
        elif self._is_up is not None:
            log.info("Vector store connection restored", kind=self._store.kind, location=self._store.location)
        self._is_up = is_up
