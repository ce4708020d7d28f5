"""Grammar of ids that users choose, rejected or taken as they are, never folded into one another."""

import re

TENANT_ID = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
COLLECTION_ID = re.compile(r"[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]")
TOPIC = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

DEFAULT_COLLECTION_ID = "documents"
MOCK_ID_PREFIX = "mock-"

# Device names that some file systems treat specially: a tenant id is also a directory name.
_RESERVED_TENANT_IDS = frozenset(
    {"con", "prn", "aux", "nul", *(f"{device}{digit}" for device in ("com", "lpt") for digit in range(1, 10))}
)


def is_tenant_id(value: str) -> bool:
    """Whether `value` can be a tenant's id, and so the name of its cell."""
    return TENANT_ID.fullmatch(value) is not None and value not in _RESERVED_TENANT_IDS


def is_collection_id(value: str) -> bool:
    """Whether `value` can be a collection's id."""
    return COLLECTION_ID.fullmatch(value) is not None
