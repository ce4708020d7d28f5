"""Reads the limits of tenants: `limits:` of a tenant, and of `defaults:` for those that say nothing themselves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vecsec_chassis.domain.sizes import parse_size
from vecsec_chassis.domain.tenant_limits import GENEROUS, Limit, TenantLimits
from vecsec_policy.folder.positioned_yaml import Positioned

_FIELDS = frozenset(limit.value for limit in Limit)
_RATES: Mapping[Limit, tuple[float, float]] = {
    Limit.SEARCHES_PER_SECOND: (0.01, 1_000_000),
    Limit.IMPORT_ROWS_PER_SECOND: (0.1, 10_000_000),
    Limit.DEAR_UNITS_PER_SECOND: (0.01, 1_000_000),
    Limit.CALLER_UNITS_PER_SECOND: (0.01, 1_000_000),
}
_NUMBERS: Mapping[Limit, tuple[int, int]] = {
    Limit.CONCURRENT_CALLS: (1, 100_000),
    Limit.ROWS: (1, 10**11),
}
_LEAST_BYTES, _MOST_BYTES = 1 << 20, 1 << 50
"""An empty cell takes some 200 KiB."""


def read_default_limits(top: Mapping[str, Positioned]) -> TenantLimits:
    """What `defaults:` of the tenants file says; what it does not say is generous.

    Raises:
        ConfigurationError: with file, line and reason.
    """
    if "defaults" not in top:
        return GENEROUS
    fields = top["defaults"].fields("defaults", frozenset({"limits"}))
    return read_limits(fields["limits"], "defaults", GENEROUS) if "limits" in fields else GENEROUS


def read_limits(value: Positioned, whose: str, otherwise: TenantLimits) -> TenantLimits:
    """The limits that are said, and the others as they are `otherwise`.

    Raises:
        ConfigurationError: with file, line and reason.
    """
    said: dict[str, Any] = {}
    for name, number in value.fields(f"limits of {whose}", _FIELDS).items():
        said[name] = _read(Limit(name), number, f"{name} of {whose}")
    return replace(otherwise, **said)


def _read(limit: Limit, value: Positioned, what: str) -> float:
    if limit is Limit.BYTES:
        return _read_bytes(value, what)
    if limit in _RATES:
        return value.number(what, *_RATES[limit])
    least, most = _NUMBERS[limit]
    number = value.number(what, least, most)
    if not number.is_integer():
        value.refuse(f"{what} must be a whole number")
    return int(number)


def _read_bytes(value: Positioned, what: str) -> int:
    text = value.scalar()
    try:
        size = parse_size(text)
    except ValueError:
        size = 0
    if not _LEAST_BYTES <= size <= _MOST_BYTES:
        value.refuse(f"{what} must be a size from 1M to 1024T, such as 500M or 20G, not {text!r}")
    return size
