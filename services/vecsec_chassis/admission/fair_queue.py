"""Those who wait, taken by turns: each key gets its share, however many wait under another."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def _one(_item: object) -> float:
    return 1.0


class FairQueue(Generic[Item]):
    """Waiting items by key. Keys take turns (stride scheduling: a key of weight 2 gets two turns where others get one);
    within a key the oldest comes first. A key that has waited for nothing so far comes next."""

    def __init__(self, cost_of: Callable[[Item], float] = _one) -> None:
        """A key whose item costs 10 waits for its next turn as long as for ten that cost 1."""
        self._cost_of = cost_of
        self._waiting: dict[str, deque[Item]] = {}
        self._turns: list[tuple[float, int, str]] = []
        """One for each key that waits, by when it is its turn; in virtual time."""
        self._strides: dict[str, float] = {}
        self._now = 0.0
        self._numbers = itertools.count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def keys_waiting(self) -> int:
        """Under how many keys something waits."""
        return len(self._waiting)

    def count(self, key: str) -> int:
        """How many wait under a key."""
        return len(self._waiting.get(key, ()))

    def add(self, key: str, item: Item, *, weight: float = 1.0) -> None:
        """Let an item wait; the key's weight holds until nothing waits under it."""
        items = self._waiting.get(key)
        if items is None:
            items = self._waiting[key] = deque()
            self._strides[key] = 1.0 / weight
            heapq.heappush(self._turns, (self._now, next(self._numbers), key))
        items.append(item)
        self._length += 1

    def take(self) -> Item | None:
        """The item whose turn it is; None if nothing waits."""
        if not self._turns:
            return None
        self._now, _, key = heapq.heappop(self._turns)
        items = self._waiting[key]
        item = items.popleft()
        self._length -= 1
        self._goes_on(key, items, self._cost_of(item))
        return item

    def remove(self, key: str, item: Item) -> None:
        """Forget an item that waits no longer; nothing happens if it was taken."""
        items = self._waiting.get(key)
        if items is None or item not in items:
            return
        items.remove(item)
        self._length -= 1
        if not items:
            self._turns = [turn for turn in self._turns if turn[2] != key]
            heapq.heapify(self._turns)
            del self._waiting[key], self._strides[key]

    def longest(self) -> str | None:
        """The key under which most waits; None if nothing does."""
        return max(self._waiting, key=self.count, default=None)

    def newest(self, key: str) -> Item:
        """What came last of what waits under a key.

        Raises:
            KeyError: if nothing does.
        """
        return self._waiting[key][-1]

    def __iter__(self) -> Iterator[Item]:
        return itertools.chain.from_iterable(self._waiting.values())

    def _goes_on(self, key: str, items: deque[Item], cost: float) -> None:
        if items:
            heapq.heappush(self._turns, (self._now + self._strides[key] * cost, next(self._numbers), key))
        else:
            del self._waiting[key], self._strides[key]
