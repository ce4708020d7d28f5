"""Answers that are made and not yet taken: a caller that asks for large ones and does not read them fills nobody's
memory but its share."""

import asyncio
from collections import Counter

from vecsec_chassis.domain.errors import Overloaded, TenantLimit

COUNTED_BYTES = 64 * 1024
"""Smaller answers fit into what gRPC hands over to the network at once."""
MOST_BYTES = 128 * 1024 * 1024
MOST_BYTES_OF_A_TENANT = 32 * 1024 * 1024
"""Of answers that are handed over to gRPC."""
MOST_WAITING_BYTES = 64 * 1024 * 1024
MOST_WAITING_BYTES_OF_A_TENANT = 16 * 1024 * 1024
"""Of those that wait until they may be: they are kept here meanwhile, so not all of them may wait."""
_WAIT_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class UnsentAnswers:
    """How many bytes of large answers wait for their callers."""

    def __init__(self) -> None:
        self._handed_over: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = asyncio.Event()

    @property
    def total_bytes(self) -> int:
        """Of all tenants, whether gRPC has them or they wait for that."""
        return self._handed_over.total() + self._waiting.total()

    def refuse_who_does_not_read(self, tenant_id: str) -> None:
        """See that a tenant takes its answers before it asks for more.

        Raises:
            TenantLimit: if too much lies there for it.
        """
        unread = self._handed_over[tenant_id] + self._waiting[tenant_id]
        if unread >= MOST_BYTES_OF_A_TENANT:
            raise TenantLimit(
                f"answers of {unread:,} bytes to this tenant are not read yet; read them first",
                retry_after=_RETRY_SECONDS,
            )

    async def claim(self, tenant_id: str, size: int) -> None:
        """Wait until an answer of this size may lie there, too. One alone may be larger than the bound.

        Raises:
            TenantLimit, Overloaded: if that does not come soon; at once if as much waits for it already as may.
        """
        if not self._may_be_handed_over(tenant_id, size):
            try:
                await self._wait(tenant_id, size)
            except TimeoutError:
                raise self._refusal(tenant_id) from None
        self._handed_over[tenant_id] += size

    def release(self, tenant_id: str, size: int) -> None:
        """An answer was taken, or its call has ended."""
        _subtract(self._handed_over, tenant_id, size)
        self._changed.set()

    async def _wait(self, tenant_id: str, size: int) -> None:
        """Wait for room, counted meanwhile.

        Raises:
            TenantLimit, Overloaded: if as much waits already as may.
            TimeoutError: if there is none soon.
        """
        if not _has_room(self._waiting, tenant_id, size, MOST_WAITING_BYTES_OF_A_TENANT, MOST_WAITING_BYTES):
            raise self._refusal(tenant_id)
        self._waiting[tenant_id] += size
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while not self._may_be_handed_over(tenant_id, size):
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            _subtract(self._waiting, tenant_id, size)

    def _may_be_handed_over(self, tenant_id: str, size: int) -> bool:
        return _has_room(self._handed_over, tenant_id, size, MOST_BYTES_OF_A_TENANT, MOST_BYTES)

    def _refusal(self, tenant_id: str) -> TenantLimit | Overloaded:
        try:
            self.refuse_who_does_not_read(tenant_id)
        except TenantLimit as error:
            return error
        return Overloaded(
            "too many large answers wait to be read; try again later, or ask for less", retry_after=_RETRY_SECONDS
        )


def _has_room(bytes_of: Counter[str], tenant_id: str, size: int, most_of_a_tenant: int, most: int) -> bool:
    own, total = bytes_of[tenant_id], bytes_of.total()
    return (own == 0 or own + size <= most_of_a_tenant) and (total == 0 or total + size <= most)


def _subtract(bytes_of: Counter[str], tenant_id: str, size: int) -> None:
    bytes_of[tenant_id] -= size
    if bytes_of[tenant_id] <= 0:
        del bytes_of[tenant_id]
