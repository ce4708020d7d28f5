"""Tells the policy service, from time to time and at the end, what grants that cross tenants were used for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from vecsec_chassis.background import running_in_background
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.reporting.policy_link import NotTold
from vecsec_retrieval.visibility.grant_uses import GrantUse, GrantUses

log = structlog.get_logger()

_INTERVAL_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_MOST_REFUSALS = 10
"""After a rotation of grant keys a replica may not know a new one for a while; another one may."""
_LAST_SECONDS = 5.0
"""How long a stopping service tries to tell the rest."""
_LAST_RETRY_SECONDS = 0.25
"""The policy service may be restarting at the same time."""


class Link(Protocol):
    """Where it is told."""

    async def tell(self, uses: "tuple[GrantUse, ...]") -> frozenset[str]:
        """Report uses; the ids of those that were refused. Raises NotTold."""
        ...


class UseReports:
    """Tells what is in the book."""

    def __init__(self, uses: GrantUses, link: Link, metrics: RetrievalMetrics) -> None:
        self._uses = uses
        self._link = link
        self._metrics = metrics
        self._is_failing = False

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            is_well = await self.tell()
            await asyncio.sleep(_INTERVAL_SECONDS if is_well else _RETRY_SECONDS)

    async def tell(self) -> bool:
        """Tell what there is; whether all of it could be told."""
        while uses := tuple(self._uses.hand_out()):
            try:
                refused = await self._link.tell(uses)
            except NotTold as failure:
                self._failed(str(failure))
                return False
            self._succeeded()
            self._settle(uses, refused)
            if refused:
                return False
        return True

    async def tell_the_rest(self) -> None:
        """At the end: what cannot be told now is lost, and that is said."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                while not await self.tell():  # noqa: ASYNC110 (only asking shows it)
                    await asyncio.sleep(_LAST_RETRY_SECONDS)
        except TimeoutError:
            self._failed("the service stops, and there is no more time")
        while uses := tuple(self._uses.hand_out()):
            for use in uses:
                self._lose(use, "the service stopped before the policy service could be told")

    def _settle(self, uses: tuple[GrantUse, ...], refused: frozenset[str]) -> None:
        for use in uses:
            if use.use_id not in refused:
                self._metrics.count_told_calls(use.calls)
                self._uses.let_go(use)
                continue
            use.refusals += 1
            if use.refusals >= _MOST_REFUSALS:
                self._lose(use, "the policy service does not know the key of this grant")

    def _lose(self, use: GrantUse, reason: str) -> None:
        self._metrics.count_lost_calls(use.calls)
        log.error("access across tenants is not on record", calls=use.calls, rows=use.rows, reason=reason)
        self._uses.let_go(use)

    def _failed(self, reason: str) -> None:
        if not self._is_failing:
            log.warning(
                "access across tenants cannot be told to the policy service, trying again",
                setting="VECSEC_POLICY_ADDRESS",
                waiting=self._uses.waiting,
                reason=reason,
            )
        self._is_failing = True

    def _succeeded(self) -> None:
        if self._is_failing:
            log.info("access across tenants is told again")
        self._is_failing = False


@asynccontextmanager
async def running_use_reports(uses: GrantUses, link: Link, metrics: RetrievalMetrics) -> AsyncIterator[None]:
    """Tell until the block ends, and then the rest."""
    reports = UseReports(uses, link, metrics)
    metrics.watch_uses(waiting=lambda: uses.waiting, oldest_seconds=lambda: uses.oldest_seconds)
    try:
        async with running_in_background(reports.run(), "tell of access across tenants"):
            yield
    finally:
        await reports.tell_the_rest()
