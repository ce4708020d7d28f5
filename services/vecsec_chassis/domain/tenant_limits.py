"""What one tenant may use of what all share. Pure.

Calls are counted in units of a plain search: a call that takes as much as ten searches counts as ten.
"""

from dataclasses import dataclass
from enum import StrEnum

from vecsec_chassis.domain.errors import TenantLimit


class Limit(StrEnum):
    """The limits, as `tenants.yaml`, errors and metrics call them."""

    SEARCHES_PER_SECOND = "searches_per_second"
    """Of all callers of the tenant together."""
    CONCURRENT_CALLS = "concurrent_calls"
    ROWS = "rows"
    BYTES = "bytes"
    IMPORT_ROWS_PER_SECOND = "import_rows_per_second"
    DEAR_UNITS_PER_SECOND = "dear_units_per_second"
    """Of all callers of the tenant together, for dear calls alone."""
    CALLER_UNITS_PER_SECOND = "caller_units_per_second"
    """Of each caller, for dear calls alone."""


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """The limits of one tenant. The defaults keep ordinary use from ever meeting one."""

    searches_per_second: float = 1_000.0
    concurrent_calls: int = 256
    rows: int = 10_000_000
    bytes: int = 1 << 40
    """On the disk, where the store is embedded."""
    import_rows_per_second: float = 10_000.0
    dear_units_per_second: float = 200.0
    """Of a unit's 2.5 ms of processor time this is half a processor."""
    caller_units_per_second: float = 100.0


GENEROUS = TenantLimits()


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """Those that are kept where rows are stored."""

    rows: int
    bytes: int
    import_rows_per_second: float

    @classmethod
    def of(cls, limits: TenantLimits) -> "StorageLimits":
        """Those of a tenant."""
        return cls(limits.rows, limits.bytes, limits.import_rows_per_second)


def tenant_limit(limit: Limit, value: float, words: str, *, retry_after: float | None) -> TenantLimit:
    """What a caller of the tenant is told in such words; `retry_after` is in seconds, None where waiting is no help."""
    when = "" if retry_after is None else f"; try again in {retry_after:.2g} s"
    return TenantLimit(
        f"{words} (limit {limit.value}){when}",
        retry_after=retry_after,
        metadata={"limit": limit.value, "value": f"{value:.15g}"},
    )
