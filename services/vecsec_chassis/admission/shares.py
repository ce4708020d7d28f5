"""What a tenant may have of a service: the seam for limits that stand in a file.

Nobody is named here: without such a file every tenant has the same share, and its calls at once have one wide bound.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Share:
    """A tenant's."""

    weight: float = 1.0
    """Of two tenants that wait, one of weight 2 gets two turns where one of weight 1 gets one."""
    most_at_once: int = 256
    """Calls of the tenant that are served or wait at once; further ones are refused (TENANT_LIMIT)."""
    most_streams: int = 32
    """Imports of the tenant at once, likewise."""


ShareOf: TypeAlias = Callable[[str], Share]
"""Gives a tenant's share. It may refuse the call instead, by raising TenantLimit."""

_EQUAL = Share()


def equal_shares(_tenant_id: str) -> Share:
    """The same for everybody."""
    return _EQUAL
