"""Counts for the path of every call: they cost a fraction of a microsecond, the SDK's own ten and more."""

from collections import Counter
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation


class _Counts:
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


class Tally(_Counts):
    """A counter, whose exporter adds `_total` to the name."""

    def __init__(self, meter: Meter, name: str, description: str, *attributes: str) -> None:
        """`attributes` are the names of its labels; `add` takes their values in this order."""
        super().__init__(attributes)
        meter.create_observable_counter(name, callbacks=[self._observe], description=description)


class Level(_Counts):
    """A number that goes up and down again, such as calls in flight."""

    def __init__(self, meter: Meter, name: str, description: str, *attributes: str) -> None:
        """`attributes` are the names of its labels; `add` takes their values in this order."""
        super().__init__(attributes)
        meter.create_observable_up_down_counter(name, callbacks=[self._observe], description=description)


def show(meter: Meter, name: str, description: str, read: Callable[[], float]) -> None:
    """Show a number that somebody else keeps; `read` is called in the exporter's thread when Prometheus asks."""

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(read())

    meter.create_observable_gauge(name, callbacks=[observe], description=description)
