"""Holds what a tenant stores to what its grant says that it may."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import structlog
from cachetools import LRUCache, TTLCache

from vecsec_chassis.domain.access import Grant
from vecsec_chassis.domain.tenant_limits import Limit, tenant_limit
from vecsec_chassis.domain.token_buckets import RecentRate, TokenBucket
from vecsec_retrieval.cells.open_cell import OpenCell
from vecsec_retrieval.metrics import RetrievalMetrics

_LONGEST_PAUSE_SECONDS = 5.0
"""An import that is faster than it may be is slowed down; where it would have to wait longer, it is told so."""
_MOST_TENANTS = 10_000
_MIB = 1 << 20
_NEAR = 0.8
_TOLD_AGAIN_SECONDS = 3600.0

log = structlog.get_logger()


class StorageQuota:
    """Of all tenants. Used on the event loop."""

    def __init__(
        self,
        metrics: RetrievalMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` and `sleep` are in seconds."""
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self._buckets: LRUCache[str, TokenBucket] = LRUCache(_MOST_TENANTS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._rates: LRUCache[str, RecentRate] = LRUCache(_MOST_TENANTS)
        self._told: TTLCache[tuple[str, Limit], bool] = TTLCache(_MOST_TENANTS, _TOLD_AGAIN_SECONDS, timer=clock)

    async def pace(self, grant: Grant, row_count: int) -> None:
        """Wait until so many rows may be stored.

        Raises:
            TenantLimit: if that takes too long; nothing was taken then.
        """
        if grant.storage is None:
            return
        rate, now = grant.storage.import_rows_per_second, self._clock()
        bucket = self._buckets.get(grant.tenant_id)
        if bucket is None:
            bucket = self._buckets[grant.tenant_id] = TokenBucket(rate, now)
        bucket.set_rate(rate)
        wait = bucket.wait_for(row_count, now)
        if wait > _LONGEST_PAUSE_SECONDS:
            self._metrics.count_refusal(Limit.IMPORT_ROWS_PER_SECOND)
            raise tenant_limit(
                Limit.IMPORT_ROWS_PER_SECOND, rate, f"your tenant may store {rate:,g} rows a second", retry_after=wait
            )
        bucket.take(row_count)  # at once, so that others of the tenant wait behind
        if wait > 0:
            await self._sleep(wait)

    def turn(self, tenant_id: str) -> asyncio.Lock:
        """Held while a batch of a tenant is embedded and stored: more at once would keep more threads computing, of
        which everybody's searches notice."""
        return self._turns.setdefault(tenant_id, asyncio.Lock())

    async def require_room(
        self, grant: Grant, cell: OpenCell, more_rows: int, is_larger: Callable[[], Awaitable[bool]]
    ) -> None:
        """See that a tenant may store so many rows more; the caller holds the cell's writer lock. `is_larger` says
        whether those that replace others are larger than these, and is asked where it matters.

        Raises:
            TenantLimit: without a time to wait for: it takes less data, or a higher limit.
        """
        limits = grant.storage
        if limits is None:
            return
        rows = await cell.row_count() + more_rows if more_rows > 0 else 0
        if rows > limits.rows:
            words = f"your tenant may store {limits.rows:,} rows, and would have more; delete some, or have it raised"
            self._metrics.count_refusal(Limit.ROWS)
            raise tenant_limit(Limit.ROWS, limits.rows, words, retry_after=None)
        size = await cell.disk_bytes() or 0
        self._tell_if_near(grant.tenant_id, Limit.ROWS, rows, limits.rows)
        self._tell_if_near(grant.tenant_id, Limit.BYTES, size, limits.bytes)
        if await self._is_full(cell, size, limits.bytes) and (more_rows > 0 or await is_larger()):
            words = (
                f"your tenant may take {limits.bytes / _MIB:,g} MiB of the disk, and takes that much; delete "
                "some rows, or have it raised"
            )
            self._metrics.count_refusal(Limit.BYTES)
            raise tenant_limit(Limit.BYTES, limits.bytes, words, retry_after=None)

    def _tell_if_near(self, tenant_id: str, limit: Limit, used: int, most: int) -> None:
        """Say so in the log while there is still room, once an hour."""
        if used >= _NEAR * most and (tenant_id, limit) not in self._told:
            self._told[tenant_id, limit] = True
            log.warning(
                "tenant is near a limit of what it may store",
                tenant_id=tenant_id,
                limit=limit.value,
                used_percent=round(100 * used / most),
            )

    @staticmethod
    async def _is_full(cell: OpenCell, size: int, most_bytes: int) -> bool:
        if size <= most_bytes:
            return False
        await cell.give_room_back()
        return (await cell.disk_bytes() or 0) > most_bytes

    def note_stored(self, tenant_id: str, row_count: int) -> None:
        """So many rows were stored."""
        now = self._clock()
        rate = self._rates.get(tenant_id)
        if rate is None:
            rate = self._rates[tenant_id] = RecentRate(now)
        rate.add(row_count, now)

    def rows_per_second(self, tenant_id: str) -> float:
        """How many rows were stored a second, in the last ten."""
        rate = self._rates.get(tenant_id)
        return 0.0 if rate is None else rate.per_second(self._clock())
