"""Counts and times for the path of every call: they cost a fraction of a microsecond, the SDK's own ten and more."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

LATENCY_BUCKETS_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 3, 5, 10)
"""Bounds for histograms of durations: doubling where searches are, and a bound at the 3 s of the service level."""

_RECORDED_TOGETHER = 32


class _LabelledNumbers:
    """Numbers by label values, handed out when Prometheus asks."""

    def __init__(self, attributes: tuple[str, ...]) -> None:
        self._attributes = attributes
        self._counts: Counter[tuple[str, ...]] = Counter()

    def add(self, count: int, *values: str) -> None:
        """Count something; 0 makes its series appear, so that `rate()` sees the first one that counts."""
        self._counts[values] += count

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, dict(zip(self._attributes, values, strict=True)))
            for values, count in tuple(self._counts.items())
        ]


class LabelledCounter(_LabelledNumbers):
    """A counter, whose exporter adds `_total` to the name."""

    def __init__(self, meter: Meter, name: str, description: str, *attributes: str) -> None:
        """`attributes` are the names of its labels; `add` takes their values in this order."""
        super().__init__(attributes)
        meter.create_observable_counter(name, callbacks=[self._observe], description=description)


class LabelledGauge(_LabelledNumbers):
    """A number that goes up and down again, such as calls in flight."""

    def __init__(self, meter: Meter, name: str, description: str, *attributes: str) -> None:
        """`attributes` are the names of its labels; `add` takes their values in this order."""
        super().__init__(attributes)
        meter.create_observable_up_down_counter(name, callbacks=[self._observe], description=description)


class DurationHistogram:
    """A histogram of durations, whose exporter adds `_seconds` to the name.

    The SDK's own takes 10 µs a value, and five times that where other work has emptied the processor's caches since
    the last one. So values are collected, and recorded some at a time or when Prometheus asks.
    """

    def __init__(self, meter: Meter, name: str, description: str, attribute: str) -> None:
        """`attribute` is the name of its label."""
        self._attribute = attribute
        self._unrecorded: deque[tuple[float, str]] = deque()
        self._histogram = meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=LATENCY_BUCKETS_SECONDS
        )
        # Nothing is ever observed by it: it is how the SDK says that it is about to collect.
        meter.create_observable_gauge(f"{name}_unrecorded", callbacks=[self._before_collection])

    def add(self, seconds: float, value: str) -> None:
        """Something took so long; `value` is the label's."""
        self._unrecorded.append((seconds, value))
        if len(self._unrecorded) >= _RECORDED_TOGETHER:
            self._record()

    def _record(self) -> None:
        while True:
            try:
                seconds, value = self._unrecorded.popleft()
            except IndexError:
                return  # all done, perhaps by the exporter's thread at the same time
            self._histogram.record(seconds, {self._attribute: value})

    def _before_collection(self, _options: CallbackOptions) -> Iterable[Observation]:
        self._record()
        return ()


def observe_value(meter: Meter, name: str, description: str, read: Callable[[], float]) -> None:
    """Show a number that somebody else keeps; `read` is called in the exporter's thread when Prometheus asks."""

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(read())

    meter.create_observable_gauge(name, callbacks=[observe], description=description)


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
class CacheCounter:
    """How a cache was used so far."""

    hits: int = 0
    misses: int = 0

    def count(self, *, found: bool) -> None:
        """One more look into the cache."""
        if found:
            self.hits += 1
        else:
            self.misses += 1


def observe_caches(meter: Meter, caches: Mapping[str, Callable[[], CacheUse]]) -> None:
    """Show how caches are used, by their names in the metric; a cache that is made anew counts from 0 again.

    A cache counts for itself, and is looked at when Prometheus asks. Series are named by cache alone: what was looked
    up, by whom and in which tenant is nobody's to see, not even the operators'.
    """

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
