"""How soon callers are told that they are turned away: at once, unless they are turned away all the time.

To refuse a call takes a third of the processor time that many an answer takes, and who sends as fast as refusals come
back would take it from the others. Where a refusal is held back, its stream is held too, of which a connection has a
bounded number: the caller's own client then slows it down.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

LONGEST_SECONDS = 5.0
_A_SECOND = 20.0
"""So many refusals are told at once, to one tenant or one machine."""
_BURST = 20.0
_MOST_KEYS = 10_000
_MOST_HELD = 2_048
_SHARE_OF_THE_DEADLINE = 0.5


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class RefusalPace:
    """A bucket of refusals for each key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._buckets: LRUCache[str, _Bucket] = LRUCache(_MOST_KEYS)
        self._held = 0

    def begin(self, key: str, remaining: float | None) -> float:
        """For how many seconds to hold a refusal back, of a caller who has this much time left (None: any). Where it is
        more than 0, `end` is to be called afterwards."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(_BURST, now)
        bucket.level = min(bucket.level + (now - bucket.at) * _A_SECOND, _BURST) - 1.0
        bucket.level = max(bucket.level, -LONGEST_SECONDS * _A_SECOND)
        bucket.at = now
        if bucket.level >= 0 or self._held >= _MOST_HELD:
            return 0.0
        seconds = min(-bucket.level / _A_SECOND, LONGEST_SECONDS)
        if remaining is not None:
            seconds = min(seconds, max(remaining, 0.0) * _SHARE_OF_THE_DEADLINE)
        if seconds > 0:
            self._held += 1
        return seconds

    def end(self) -> None:
        """A refusal that was held back is told."""
        self._held -= 1
