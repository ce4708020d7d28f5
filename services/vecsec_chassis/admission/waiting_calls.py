"""Calls that wait, by tenant: who used least is next."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WaitingCalls(Generic[Item]):
    """Within a tenant the oldest comes first."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Item]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def tenants(self) -> int:
        """How many have calls here."""
        return len(self._waiting)

    def count(self, tenant_id: str) -> int:
        """How many calls of a tenant wait."""
        return len(self._waiting.get(tenant_id, ()))

    def add(self, tenant_id: str, item: Item) -> None:
        """Let a call wait."""
        self._waiting.setdefault(tenant_id, deque()).append(item)
        self._length += 1

    def next_tenant(self, used: Callable[[str], float]) -> str | None:
        """Whose turn it is: of those who used least the one that began to wait first; None if nothing waits."""
        return min(self._waiting, key=used, default=None)

    def take(self, tenant_id: str) -> Item:
        """The oldest call of a tenant that has some here."""
        item = self._waiting[tenant_id].popleft()
        self._no_longer(tenant_id)
        return item

    def remove(self, tenant_id: str, item: Item) -> None:
        """Forget a call that waits no longer; nothing happens if it was taken."""
        items = self._waiting.get(tenant_id)
        if items is not None and item in items:
            items.remove(item)
            self._no_longer(tenant_id)

    def _no_longer(self, tenant_id: str) -> None:
        self._length -= 1
        if not self._waiting[tenant_id]:
            del self._waiting[tenant_id]
