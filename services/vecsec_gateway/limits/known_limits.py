"""The limits of tenants as the policy service has them, asked for beside the calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from cachetools import LRUCache

from vecsec_chassis.background import BackgroundTasks
from vecsec_chassis.domain.errors import VecSecError
from vecsec_chassis.domain.tenant_limits import GENEROUS, TenantLimits

log = structlog.get_logger()

_FRESH_SECONDS = 5.0
_MOST_TENANTS = 10_000

AskForLimits = Callable[[str, str], Awaitable[TenantLimits]]
"""Of a caller by their token, and of their own tenant; raises VecSecError."""


@dataclass(slots=True)
class _Known:
    limits: TenantLimits
    asked_at: float
    are_told: bool = False
    """By the policy service; else they are made up."""


class KnownLimits:
    """What is known. No call waits for it: until the first answer a tenant has the generous limits of one that says
    nothing, and while the policy service does not answer the last ones that it said."""

    def __init__(self, ask: AskForLimits, clock: Callable[[], float]) -> None:
        """`clock` is in seconds."""
        self._ask = ask
        self._clock = clock
        self._known: LRUCache[str, _Known] = LRUCache(_MOST_TENANTS)
        self._asking = BackgroundTasks()

    def of(self, tenant_id: str, token: str) -> TenantLimits:
        """The limits of a caller's own tenant; after five seconds they are asked for again, by this token."""
        now = self._clock()
        known = self._known.get(tenant_id)
        if known is None:
            known = self._known[tenant_id] = _Known(GENEROUS, now - _FRESH_SECONDS)
        if now - known.asked_at >= _FRESH_SECONDS:
            known.asked_at = now  # whatever comes of it, it is not asked more often
            self._asking.begin(self._look(known, tenant_id, token), "ask for a tenant's limits")
        return known.limits

    async def aclose(self) -> None:
        """Ask no more."""
        await self._asking.close()

    async def _look(self, known: _Known, tenant_id: str, token: str) -> None:
        try:
            known.limits = await self._ask(token, tenant_id)
            known.are_told = True
        except VecSecError as error:
            log.info(
                "limits of a tenant cannot be asked for",
                tenant_id=tenant_id,
                meanwhile="the last that were told" if known.are_told else "the generous ones of one that says nothing",
                detail=error.message,
            )
