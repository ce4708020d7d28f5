"""Says once a minute who is near a limit, or was refused for one: in the log by tenant and caller, in metrics by limit
alone."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

import structlog

from vecsec_chassis.domain.tenant_limits import Limit, TenantLimits
from vecsec_gateway.limits.tenant_shares import Minute, TenantShares
from vecsec_gateway.peers.metrics import GatewayMetrics

log = structlog.get_logger()

_MINUTE_SECONDS = 60.0
_NEAR = 0.8
_TALKERS = 3


async def report_each_minute(shares: TenantShares, metrics: GatewayMetrics, replicas: int) -> None:
    """Report until cancelled."""
    while True:
        await asyncio.sleep(_MINUTE_SECONDS)
        report(shares.end_minute(), metrics, replicas)


def report(minutes: Iterable[tuple[str, Minute]], metrics: GatewayMetrics, replicas: int) -> None:
    """Tell of a minute that has ended."""
    near: Counter[Limit] = Counter()
    for tenant_id, minute in minutes:
        assert minute.limits is not None, "calls were made"
        used = used_shares(minute, minute.limits, replicas)
        close = {limit: share for limit, share in used.items() if share >= _NEAR}
        near.update(close.keys() | minute.refused.keys())
        if close or minute.refused:
            log.warning(
                "tenant is near its limits",
                tenant_id=tenant_id,
                used_percent={limit.value: round(100 * share) for limit, share in used.items()},
                refused={limit.value: count for limit, count in minute.refused.items()},
                callers={name: round(units) for name, units in minute.talkers.top(_TALKERS)},
            )
    metrics.tenants_near_limit(near)


def used_shares(minute: Minute, limits: TenantLimits, replicas: int) -> Mapping[Limit, float]:
    """How much of each limit was used: of rates in the mean, of calls at the same time at most, and of what one caller
    may by the one that used most."""
    most_of_a_caller = max((units for _, units in minute.dear_talkers.top(1)), default=0.0)
    return {
        Limit.SEARCHES_PER_SECOND: minute.units / _MINUTE_SECONDS / (limits.searches_per_second / replicas),
        Limit.CONCURRENT_CALLS: minute.most_in_flight / max(limits.concurrent_calls // replicas, 1),
        Limit.DEAR_UNITS_PER_SECOND: minute.dear_units / _MINUTE_SECONDS / (limits.dear_units_per_second / replicas),
        Limit.CALLER_UNITS_PER_SECOND: most_of_a_caller / _MINUTE_SECONDS / (limits.caller_units_per_second / replicas),
    }
