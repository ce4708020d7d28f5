"""How often each cache of a service had what was asked for: one metric, of one shape for all of them.

A cache counts for itself, in a field of its own, and is looked at when Prometheus asks: a count costs a fraction of a
microsecond. Series are named by cache alone: what was looked up, by whom and in which tenant is nobody's to see, not
even the operators'.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation


class CacheUse(Protocol):
    """How a cache was used so far; `cache_info()` of `functools` and `cachetools` gives one."""

    @property
    def hits(self) -> int:
        """How often it had what was asked for."""
        ...

    @property
    def misses(self) -> int:
        """How often it had not."""
        ...


@dataclass(slots=True)
class Lookups:
    """How a cache was used so far."""

    hits: int = 0
    misses: int = 0

    def count(self, *, found: bool) -> None:
        """One more look into the cache."""
        if found:
            self.hits += 1
        else:
            self.misses += 1


def show_caches(meter: Meter, caches: Mapping[str, Callable[[], CacheUse]]) -> None:
    """Show how caches are used, by their names in the metric; a cache that is made anew counts from 0 again."""

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for cache, read in caches.items():
            use = read()
            yield Observation(use.hits, {"cache": cache, "result": "hit"})
            yield Observation(use.misses, {"cache": cache, "result": "miss"})

    meter.create_observable_counter(
        "vecsec_cache_requests",
        callbacks=[observe],
        description="Look-ups in caches, by cache and by result: hit or miss.",
    )
