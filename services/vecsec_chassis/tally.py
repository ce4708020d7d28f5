"""Counters for the path of every call: they cost a fraction of a microsecond, the SDK's own ten and more."""

from collections import Counter
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation


class Tally:
    """A counter that is read when Prometheus asks, whose exporter adds `_total` to the name."""

    def __init__(self, meter: Meter, name: str, description: str, *attributes: str) -> None:
        """`attributes` are the names of its labels; `add` takes their values in this order."""
        self._attributes = attributes
        self._counts: Counter[tuple[str, ...]] = Counter()
        meter.create_observable_counter(name, callbacks=[self._observe], description=description)

    def add(self, count: int, *values: str) -> None:
        """Count something; 0 makes its series appear, so that `rate()` sees the first one that counts."""
        self._counts[values] += count

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, dict(zip(self._attributes, values, strict=True)))
            for values, count in tuple(self._counts.items())
        ]
