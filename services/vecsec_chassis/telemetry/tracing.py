"""What a trace tells of a call besides its times: counts, verdicts and how it was done; never content."""

import time
from types import TracebackType

from opentelemetry.sdk.trace import ReadableSpan

from vecsec_chassis.calls import current_span


def annotate_span(**facts: str | int | bool) -> None:
    """Put facts about the current call on its span, as `vecsec.<name>`; costs next to nothing where there is none."""
    span = current_span()
    if span is not None:
        span.set_attributes({f"vecsec.{name}": fact for name, fact in facts.items()})


class Timed:
    """Puts on the call's span how long a block took, in microseconds, as `vecsec.<name>_us`; several blocks of a name
    are summed up. A span of its own would cost more than most of what is timed so."""

    __slots__ = ("_name", "_started")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._started = time.perf_counter_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span = current_span()
        if span is None:
            return
        name = f"vecsec.{self._name}_us"
        earlier = (span.attributes or {}).get(name, 0.0) if isinstance(span, ReadableSpan) else 0.0
        assert isinstance(earlier, float)
        span.set_attribute(name, earlier + (time.perf_counter_ns() - self._started) / 1e3)
